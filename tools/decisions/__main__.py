"""The generated tables of docs/firewall.md, played between two networks of ours.

python -m tools.decisions          prints the document with them
python -m tools.decisions write    writes it
"""

import sys

from tools.decisions.document import PAGE, current

if sys.argv[1:] == ["write"]:
    PAGE.write_text(current(), encoding="utf-8")
else:
    sys.stdout.buffer.write(current().encode())
