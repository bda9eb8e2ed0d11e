"""Which disk a run database is on: on one that machines share SQLite's WAL does not work, as it needs shared memory."""

from __future__ import annotations

from pathlib import Path

import psutil

_NETWORK = {
    "9p", "afs", "beegfs", "ceph", "cifs", "glusterfs", "gpfs", "lustre", "ncpfs", "nfs", "nfs4", "smb3", "smbfs",
    "virtiofs",
}  # fmt: skip
_LOCAL_FUSE = {"fuse.fuse-overlayfs"}  # of containers


def filesystem_of(path: Path) -> str:
    """Returns the type of the filesystem that holds `path`, as in ext4, nfs4 or fuse.sshfs; "": it is not known."""
    places = {Path(part.mountpoint): str(part.fstype) for part in psutil.disk_partitions(all=True)}
    whole = path.absolute().resolve()
    return next((places[place] for place in (whole, *whole.parents) if place in places), "")


def is_network(filesystem: str) -> bool:
    """Tells whether a filesystem of this type may be on another machine."""
    return filesystem in _NETWORK or (filesystem.startswith("fuse.") and filesystem not in _LOCAL_FUSE)
