"""What all connections of a network have together of something, each beyond what is its own anyhow."""


class Pool:
    """At most ``maximum`` of it; None is any amount. The last quarter is for protected peers alone: whoever fills all
    the rest does not stop them (hostile row 38).
    """

    __slots__ = ("_maximum", "taken")

    def __init__(self, maximum: int | None) -> None:
        self._maximum = 1 << 63 if maximum is None else maximum
        self.taken = 0

    def share(self, *, protected: bool) -> int:
        """How far a peer's connections may fill it."""
        return self._maximum if protected else self._maximum - self._maximum // 4

    def take(self, wanted: int, *, protected: bool) -> bool:
        """Set ``wanted`` aside; False: it is not there."""
        if self.taken + wanted > self.share(protected=protected):
            return False
        self.taken += wanted
        return True
