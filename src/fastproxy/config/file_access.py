"""Whether a file that holds a secret can be read by others than whoever this process runs as.

The permissions of a file say so, unless it has an access control list (acl(5)): then what they show for the
group is the most that anybody named in the list may do, and the list says who that is. Credentials that a
service manager hands to a service under a user of its own are such files: root's, with an entry for that user
alone.
"""

from __future__ import annotations

import os
import stat
import struct

_ACL = "system.posix_acl_access"
_VERSION = struct.pack("<I", 2)
_ENTRY = struct.Struct("<HHI")  # tag, permissions, id (linux/posix_acl_xattr.h)
_USER, _GROUP_OBJ, _GROUP = 2, 4, 8
_ROOT = 0


def is_open_to_others(descriptor: int) -> bool:
    """Whether others can do anything with an open file. Root always can, and doesn't count."""
    mode = stat.S_IMODE(os.fstat(descriptor).st_mode)
    if not mode & 0o077:
        return False
    if mode & 0o007:
        return True
    try:
        return names_others(os.getxattr(descriptor, _ACL), os.geteuid())
    except OSError:
        return True  # it has no list: it is the group that may


def names_others(access_list: bytes, uid: int) -> bool:
    """Whether an access control list lets others in than one user and root.

    Args:
        access_list: as the kernel shows it. uid: of the user.
    """
    entries = access_list[len(_VERSION) :]
    if not access_list.startswith(_VERSION) or len(entries) % _ENTRY.size:
        return True  # of a form that is not known here
    return any(
        permissions and (tag in (_GROUP_OBJ, _GROUP) or (tag == _USER and named not in (uid, _ROOT)))
        for tag, permissions, named in _ENTRY.iter_unpack(entries)
    )
