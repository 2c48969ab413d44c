"""What must hold for the channels of a job before it is accepted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.backends.inputs import local_path
from orchestrator.errors import InputError, InvalidSpec

if TYPE_CHECKING:
    from orchestrator.spec.job import Channel, TrainingJobSpec


def check_channels(spec: TrainingJobSpec) -> None:
    """Check each channel's input mode with what else it asks for, and that local paths exist.

    Raises:
        InvalidSpec: Members of a channel do not go together.
        InputError: A path does not exist.
    """
    for channel in spec.input_data_config:
        mode = spec.input_mode_of(channel)
        _check_data_type(channel, mode)
        if mode != "Pipe":
            _check_file(channel, mode)
        else:
            _check_pipe(channel, spec)
        if channel.writable and mode != "File":
            raise InvalidSpec(
                f"a writable channel needs InputMode File, got {mode} for channel "
                f"{channel.channel_name!r}; leave one of them out"
            )
        _check_path(channel)


def _check_data_type(channel: Channel, mode: str) -> None:
    name, kind = channel.channel_name, channel.s3_data_type
    if mode == "FastFile" and kind != "S3Prefix":
        raise InvalidSpec(
            f"FastFile mode supports S3DataType S3Prefix only, got {kind} for channel {name!r}; "
            "use File or Pipe mode"
        )
    if kind == "AugmentedManifestFile" and mode != "Pipe":
        raise InvalidSpec(
            "AugmentedManifestFile can only be used if the Channel's input mode is Pipe, got "
            f"{mode} for channel {name!r}; set InputMode to Pipe"
        )
    if (kind == "AugmentedManifestFile") != bool(channel.attribute_names):
        raise InvalidSpec(
            "AttributeNames must be given for S3DataType AugmentedManifestFile, and for no other, "
            f"got {list(channel.attribute_names)} with {kind} for channel {name!r}; "
            + ("name the attributes" if not channel.attribute_names else "leave them out")
        )


def _check_file(channel: Channel, mode: str) -> None:
    for member, value in (
        ("CompressionType", channel.compression_type),
        ("RecordWrapperType", channel.record_wrapper_type),
    ):
        if value != "None":
            raise InvalidSpec(
                f"{member} is used only in Pipe input mode, got {value} with {mode} for channel "
                f"{channel.channel_name!r}; leave this field unset or set it to None, or use Pipe"
            )


def _check_pipe(channel: Channel, spec: TrainingJobSpec) -> None:
    prefix = f"{channel.channel_name}_"
    for other in spec.input_data_config:
        taken = other.channel_name.removeprefix(prefix)
        if taken != other.channel_name and taken.isdecimal():
            raise InvalidSpec(
                f"channel {channel.channel_name!r} in Pipe mode has FIFOs {prefix}0, {prefix}1, "
                f"..., and there is a channel {other.channel_name!r}; rename one of them"
            )


def _check_path(channel: Channel) -> None:
    path = local_path(channel.uri)
    if path is not None and not path.exists():
        raise InputError(
            f"channel {channel.channel_name!r} must name an existing path, got "
            f"{channel.uri!r}; check the path on the machine that runs the service"
        )
