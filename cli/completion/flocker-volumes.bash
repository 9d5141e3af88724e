# SPDX-License-Identifier: Apache-2.0
# The original's name of flockerctl is completed by the same function.
# A file and no link: meson's list of what it installs knows links by their names alone, and the program has it too.
. "${BASH_SOURCE[0]%/*}/flockerctl"
