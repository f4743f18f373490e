"""Runs ``ends.py`` with one constant of the package set to another value, wherever it was imported.

PYTHONPATH=CHECKOUT python -P without.py NAME VALUE serve|client ...
"""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
ends = import_module("ends")


def replace(name: str, value: int) -> int:
    """Set ``name`` in every module of the package that has it; how many those are."""
    count = 0
    for module in [loaded for known, loaded in sys.modules.items() if known.startswith("stronghold_p2p.")]:
        if name in vars(module):
            setattr(module, name, value)
            count += 1
    return count


if __name__ == "__main__":
    _, NAME, VALUE, *REST = sys.argv
    if not replace(NAME, int(VALUE)):
        raise SystemExit(f"no module has {NAME}")
    sys.argv = [str(Path(__file__).with_name("ends.py")), *REST]
    ends.main()
