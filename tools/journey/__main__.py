"""Writes docs/journey.md to standard output, in UTF-8 whatever the locale."""

import sys

from tools.journey.recording import record
from tools.journey.render import document

sys.stdout.buffer.write(document(record()).encode())
