"""The script ``stronghold-p2p``: beside the package, so that it runs before that is imported, which takes a while."""

import signal


def main() -> int:
    """Run the command line. Ctrl-C before it is there ends the process at once, as it ends one that is not Python."""
    before = signal.getsignal(signal.SIGINT)
    if before is signal.default_int_handler:  # and not where whoever started us wants it ignored
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from stronghold_p2p.cli.main import main as command  # noqa: PLC0415 - that is the point

    if before is signal.default_int_handler:
        signal.signal(signal.SIGINT, before)
    return command()
