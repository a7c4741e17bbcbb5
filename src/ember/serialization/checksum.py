"""A checksum in each file that is saved: the comment at the end of the zip archive that torch writes.

Programs that read zip archives skip the comment, torch and older versions of Ember too. Files without one, which Pyro, torch or
an older Ember wrote, are held to the checksums that an archive has of its own, one a record.
"""

from __future__ import annotations

import hashlib
import os
import struct
import zipfile
from typing import BinaryIO

from ember.errors import SaveFileError

_NAME = b"ember sha256 "
_SIZE = len(_NAME) + 64
_ARCHIVE = b"PK\x03\x04"
# The last record of an archive, 22 bytes: its signature, 16 bytes of no matter here, and the length of the comment that follows.
_END = struct.Struct("<4s16sH")
_END_SIGNATURE = b"PK\x05\x06"
_FOLDER = 0x10


def seal(file: BinaryIO) -> None:
    """Write the checksum behind a whole archive. What is no archive stays as it is."""
    size = file.seek(0, os.SEEK_END)
    if _comment_length(file, size, 0) != 0:
        return
    file.seek(size - 2)
    file.write(struct.pack("<H", _SIZE))
    file.seek(size)
    file.write(_NAME + _digest(file, size))


def verify(file: BinaryIO) -> None:
    """Compare a file with its checksum; what has none passes if torch can have written it.

    Raises:
        SaveFileError: if the file has changed since it was written, was cut short, or would unpack to more than its size.
    """
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    is_archive = file.read(4) == _ARCHIVE
    if _comment_length(file, size, _SIZE) == _SIZE:
        file.seek(size - _SIZE)
        if file.read() != _NAME + _digest(file, size - _SIZE):
            raise SaveFileError("its checksum does not fit: it has changed since it was written")
    elif is_archive and _comment_length(file, size, 0) != 0:
        raise SaveFileError("its end is missing or has changed since it was written")
    elif is_archive:
        _verify_records(file)
    file.seek(0)


def _comment_length(file: BinaryIO, size: int, expected: int) -> int | None:
    if size < _END.size + expected:
        return None
    file.seek(size - expected - _END.size)
    signature, _, length = _END.unpack(file.read(_END.size))
    return int(length) if signature == _END_SIGNATURE else None


def _digest(file: BinaryIO, size: int) -> bytes:
    file.seek(0)
    digest, left = hashlib.sha256(), size
    while left and (block := file.read(min(left, 1 << 20))):
        digest.update(block)
        left -= len(block)
    return digest.hexdigest().encode()


def _verify_records(file: BinaryIO) -> None:
    file.seek(0)
    try:
        with zipfile.ZipFile(file) as archive:
            records = archive.infolist()
            size = file.seek(0, os.SEEK_END)
            # torch stores records as they are; compressed or overlapping ones could unpack to any size.
            packed = any(record.compress_type != zipfile.ZIP_STORED for record in records)
            if packed or sum(record.file_size for record in records) > size:
                raise SaveFileError("it would unpack to more than its size")
            # A record that is called a folder would be memory that nobody has written to.
            if any(record.external_attr & _FOLDER for record in records):
                raise SaveFileError("one of its records is called a folder")
            if len({record.filename for record in records}) < len(records):
                raise SaveFileError("it has two records of one name")
            # torch writes zeros where the user has switched its checksums off.
            bad = archive.testzip() if any(record.CRC for record in records) else None
    except SaveFileError:
        raise
    except Exception as error:  # of many types, for damaged archives
        raise SaveFileError(f"it is no sound archive: {error}") from error
    if bad is not None:
        raise SaveFileError(
            f"the checksum of its record {bad!r} does not fit: it has changed since it was written"
        )
