"""The generated tables of docs/firewall.md and docs/from-rust.md, played between two networks of ours.

python -m tools.decisions          prints the documents with them
python -m tools.decisions write    writes them
"""

import sys

from tools.decisions.document import current

for page, text in current().items():
    if sys.argv[1:] == ["write"]:
        page.write_text(text, encoding="utf-8")
    else:
        sys.stdout.buffer.write(text.encode())
