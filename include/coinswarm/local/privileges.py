"""PostgreSQL refuses to run as root: find another system user, and folders that this user can reach."""

from __future__ import annotations

import hashlib
import os
import pwd
import shutil
import stat
from collections.abc import Iterable
from pathlib import Path

from coinswarm.errors import UserError

# Where data goes if we are root and the project lies in a folder that nobody else may enter (`/root`).
_REACHABLE = Path("/var/lib/coinswarm")


def server_user() -> str | None:
    """The user to run PostgreSQL as: None (ourselves) unless we are root; then COINSWARM_SERVER_USER, postgres, nobody.

    Raises:
        UserError: we are root and no such user exists.
    """
    if os.geteuid() != 0:
        return None
    wanted = [os.environ.get("COINSWARM_SERVER_USER"), "postgres", "nobody"]
    for name in filter(None, wanted):
        try:
            if pwd.getpwnam(name).pw_uid != 0:
                return name
        except KeyError:
            continue
    raise UserError(
        "PostgreSQL does not run as root: set COINSWARM_SERVER_USER to an unprivileged user of this machine"
    )


def reachable(path: Path, user: str | None) -> bool:
    """Whether `user` may enter every existing folder on the way to `path`."""
    if user is None:
        return True
    entry = pwd.getpwnam(user)
    groups = set(os.getgrouplist(user, entry.pw_gid))
    return all(_may_enter(folder, entry.pw_uid, groups) for folder in [path, *path.parents] if folder.is_dir())


def reachable_folder(folder: Path, user: str | None) -> Path:
    """`folder`, or its stand-in below /var/lib/coinswarm if `user` could not reach it; the same answer every time."""
    if reachable(folder.parent, user):
        return folder
    digest = hashlib.sha256(str(folder.parent.resolve()).encode()).hexdigest()[:12]
    return _REACHABLE / digest / folder.name


def reachable_copy(folder: Path, names: Iterable[str], user: str | None, *, version: str) -> Path:
    """`folder` (of a read-only installation), or a copy of its entries `names` where `user` can reach them.

    The entries keep their places beside each other, because programs find their libraries by relative paths.
    """
    if all(reachable(folder / name, user) for name in names):
        return folder
    target = reachable_folder(folder / f"installed-{version}", user)
    if not target.is_dir():
        partial = target.with_name(f"{target.name}.{os.getpid()}")
        for name in names:
            if (folder / name).is_dir():
                shutil.copytree(folder / name, partial / name, symlinks=True)
        for parent in (target.parent, partial):
            parent.chmod(0o755)  # whatever our umask is
        partial.rename(target)
    return target


def own(folder: Path, user: str | None) -> None:
    """Make `folder` with mode 0700, belonging to `user`; new folders above it can be entered by all but not listed."""
    for parent in reversed(folder.parents):
        if not parent.exists():
            parent.mkdir(mode=0o711)
    folder.mkdir(mode=0o700, exist_ok=True)
    if user:
        shutil.chown(folder, user, pwd.getpwnam(user).pw_gid)


def _may_enter(folder: Path, uid: int, groups: set[int]) -> bool:
    status = folder.stat()
    if status.st_uid == uid:
        return bool(status.st_mode & stat.S_IXUSR)
    if status.st_gid in groups:
        return bool(status.st_mode & stat.S_IXGRP)
    return bool(status.st_mode & stat.S_IXOTH)
