"""A figure, its bar, and how both are shown."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """``least`` and ``most`` are the bar, both included; without them it is told and not judged."""

    part: str
    what: str
    value: float
    unit: str = ""
    digits: int = 0
    least: float | None = None
    most: float | None = None
    note: str = ""

    @property
    def met(self) -> bool:
        return (self.least is None or self.value >= self.least) and (self.most is None or self.value <= self.most)

    @property
    def judged(self) -> bool:
        return self.least is not None or self.most is not None

    @property
    def bar(self) -> str:
        if self.least is not None and self.least == self.most:
            return self._text(self.least)
        bounds = [f"at least {self._text(self.least)}"] if self.least is not None else []
        return " ".join(bounds + ([f"at most {self._text(self.most)}"] if self.most is not None else []))

    @property
    def verdict(self) -> str:
        return ("met" if self.met else "MISSED") if self.judged else ""

    @property
    def measured(self) -> str:
        return " ".join(filter(None, (f"{self.value:,.{self.digits}f}", self.unit)))

    def line(self) -> str:
        """As it is printed."""
        text = f"{self.part:9}{self.what:52}{self.measured:>14}   {self.bar:18}{self.verdict}"
        return "\n".join([text.rstrip(), *([f"{'':9}{self.note}"] if self.note else [])])

    def row(self) -> str:
        """As a row of the table in the document."""
        return f"| {self.what} | {self.measured} | {self.bar or '-'} | {self.verdict or '-'} |"

    def _text(self, bound: float) -> str:
        return f"{bound:,g}"
