#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""assets.py OUTPUT PATH FILE [PATH FILE]... - files as a table in C, for control/assets.h."""
import hashlib
import sys

TYPES = {"css": "text/css; charset=utf-8", "html": "text/html; charset=utf-8",
         "js": "text/javascript; charset=utf-8", "json": "application/json",
         "png": "image/png", "svg": "image/svg+xml"}
LINE = 64  # bytes of a file in one line of the output


def literal(data):
    """Octal, since a hexadecimal escape would take the digits behind it along."""
    return "".join(chr(b) if 0x20 <= b < 0x7f and b not in b'"\\?' else f"\\{b:03o}" for b in data)


def main(output, *arguments):
    rows = []
    for path, name in zip(arguments[::2], arguments[1::2]):
        with open(name, "rb") as f:
            data = f.read()
        lines = [f'\t\t"{literal(data[i:i + LINE])}"' for i in range(0, len(data), LINE)]
        rows.append(f'\t{{ "{path}", "{TYPES[name.rsplit(".", 1)[1]]}",\n'
                    f'\t\t"\\"{hashlib.sha256(data).hexdigest()[:32]}\\"",\n' + "\n".join(lines or ['\t\t""'])
                    + f", {len(data)} }},\n")
    with open(output, "w", encoding="ascii") as f:
        f.write('#include "assets.h"\n\nconst struct asset assets[] = {\n' + "".join(rows) + "\t{ 0 },\n};\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
