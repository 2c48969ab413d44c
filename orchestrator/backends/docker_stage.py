"""Puts a host's files in place and gives them to the user that its container runs as."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from orchestrator.backends import inputs, staging
from orchestrator.backends.base import AttemptContext
from orchestrator.backends.docker_plan import SECRETS_FILE, SHARED_FILES
from orchestrator.blobs.files import partial_file

User = tuple[int, int]


def stage_host(
    context: AttemptContext,
    host: str,
    *,
    network_interface: str,
    fetch: inputs.InputFetcher,
    user: User,
) -> None:
    """Prepare one host's directory for a container.

    Raises:
        InputError: An input is missing or hostile.
    """
    directory = staging.prepare_host(
        context,
        host,
        network_interface=network_interface,
        fetch=fetch,
        can_mount=True,
    )
    for name in SHARED_FILES:
        (directory / name).touch(mode=0o600)
    if context.secrets:
        staging.write_json(directory / SECRETS_FILE, context.secrets, mode=0o600)
    hand_over(directory, user)
    staged = inputs.inputs_directory(context, host)
    if staged.is_dir():
        lend(staged, user)
    for kept in staging.kept_directories(context):
        hand_over(kept.directory, user)


def hand_over(root: Path, user: User) -> None:
    """Give a tree to a container's user, as far as it belongs to us and we are root.

    Files with several names stay ours: an input may be served as a link to a stored object.
    """
    if os.geteuid() != 0 or user == (0, 0):
        return
    _give(root, user)
    for folder, folders, names in os.walk(root):
        for name in (*folders, *names):
            _give(Path(folder, name), user)


def _give(path: Path, user: User) -> None:
    found = path.lstat()
    several_names = found.st_nlink > 1 and not path.is_dir()
    if found.st_uid == 0 and not several_names:
        os.chown(path, *user, follow_symlinks=False)


def lend(root: Path, user: User) -> None:
    """Let a container's user read inputs; links that only their owner may read become copies."""
    hand_over(root, user)
    if os.geteuid() != 0 or user == (0, 0):
        return
    for folder, _, names in os.walk(root):
        for path in (Path(folder, name) for name in names):
            found = path.lstat()
            if found.st_nlink > 1 and not found.st_mode & 0o004:
                with partial_file(path) as copy:
                    shutil.copyfile(path, copy)
                    os.chown(copy, *user)
                    copy.replace(path)


def make_readable(root: Path) -> None:
    """Let every user read a tree of ours, whatever the umask was when it was made."""
    if os.geteuid() != 0 or root.stat().st_mode & 0o005 == 0o005:
        return
    for folder, _, names in os.walk(root):
        Path(folder).chmod(0o755)
        for name in names:
            path = Path(folder, name)
            path.chmod(path.stat().st_mode | 0o044)


def unreadable_channels(context_channels: tuple[tuple[str, Path], ...], user: User) -> list[str]:
    """Return the names of the channels whose place the container's user may not read."""
    if os.geteuid() != 0 or user == (0, 0):
        return []
    refused = []
    for name, path in context_channels:
        try:
            found = path.stat()
        except OSError:
            continue
        wanted = 0o005 if path.is_dir() else 0o004
        if found.st_mode & wanted != wanted and found.st_uid != user[0]:
            refused.append(name)
    return refused


def host_directories(attempt: Path) -> list[Path]:
    """Return the directories of the hosts of an attempt that have one."""
    if not attempt.is_dir():
        return []
    return [path for path in sorted(attempt.iterdir()) if path.is_dir()]
