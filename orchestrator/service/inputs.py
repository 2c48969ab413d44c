"""Brings the channels of jobs to where back ends want them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.backends.inputs import ITEMS_FILE, OBJECTS_DIRECTORY, View, pipe_source
from orchestrator.blobs.base import Selection
from orchestrator.blobs.streams import stage_stream, stream_items
from orchestrator.blobs.transfer import select_files
from orchestrator.errors import InputError

if TYPE_CHECKING:
    from orchestrator.backends.inputs import Fetch
    from orchestrator.blobs.base import BlobStore
    from orchestrator.spec.job import Channel

GIB = 1 << 30


class Inputs:
    """Fetches channels from the places of a home.

    Args:
        blobs: All of its places.
    """

    def __init__(self, blobs: BlobStore) -> None:
        self._blobs = blobs

    def fetch(self, wanted: Fetch) -> None:
        """Bring a channel; see ``backends.inputs``. What need not be writable may be a link.

        Raises:
            InputError: It is missing, hostile, or larger than the volume.
        """
        channel = wanted.channel
        if wanted.view is View.PIPE:
            self._stage_stream(wanted)
            return
        own = wanted.view is View.COPY
        selection = selection_of(wanted)
        if wanted.room_bytes is not None and (own or not self._blobs.lends(channel.uri)):
            files = select_files(self._blobs, channel.uri, selection)
            _check_room(channel, sum(file.source.size for file in files), wanted.room_bytes)
        self._blobs.download(channel.uri, wanted.directory, selection=selection, writable=own)

    def _stage_stream(self, wanted: Fetch) -> None:
        channel = wanted.channel
        items = stream_items(
            self._blobs,
            channel.uri,
            selection_of(wanted),
            channel.attribute_names,
        )
        stage_stream(
            self._blobs,
            items,
            wanted.directory / ITEMS_FILE,
            None if pipe_source(channel) else wanted.directory / OBJECTS_DIRECTORY,
        )


def selection_of(wanted: Fetch) -> Selection:
    """Return what one host gets of a channel."""
    channel = wanted.channel
    return Selection(
        channel.s3_data_type,
        channel.s3_data_distribution_type,
        wanted.rank,
        wanted.hosts,
        channel.shuffle_config.seed if channel.shuffle_config else None,
        wanted.by_beginning,
    )


def _check_room(channel: Channel, size: int, room: int) -> None:
    if size > room:
        raise InputError(
            f"the inputs of a host must fit its volume of {room / GIB:g} GB (VolumeSizeInGB), "
            f"channel {channel.channel_name!r} has {size / GIB:.2f} GB: no space would be left on "
            "device; ask for a larger VolumeSizeInGB, or use FastFile or Pipe mode"
        )
