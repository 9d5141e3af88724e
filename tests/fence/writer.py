# SPDX-License-Identifier: Apache-2.0
"""writer.py FILE ACKNOWLEDGED - append numbered, checksummed records, each on stable storage before
the next; each acknowledgement is kept elsewhere with its time. Ends with the first error, and says
it."""
import errno
import os
import sys
import time
import zlib


def record(number):
    text = b"%08d %08x" % (number, zlib.crc32(b"%d" % number))
    return text + b"\n"


def main(path, acknowledged):
    acks = os.open(acknowledged, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    number = 0
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        while True:
            os.write(fd, record(number))
            os.fsync(fd)
            os.write(acks, b"%d %d\n" % (number, time.clock_gettime_ns(time.CLOCK_BOOTTIME)))
            number += 1
    except OSError as e:
        print(errno.errorcode[e.errno], flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
