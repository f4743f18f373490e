"""The generated tables of docs/firewall.md and docs/from-rust.md, played between two networks of ours.

python -m tools.decisions          prints the documents with them
python -m tools.decisions write    writes them
"""

from tools.decisions.document import current
from tools.pages import main

main(current())
