"""A clock that tests set, as a user or NTP would."""


class SetClock:
    """Stands for the module ``time``: each look at :meth:`monotonic` takes ``step`` seconds."""

    def __init__(self, step: float) -> None:
        self.step = step
        self.moment = 1000.0
        self.ahead = 1.8e9
        """Of :meth:`time` before :meth:`monotonic`: what is changed here is a clock that is set."""

    def monotonic(self) -> float:
        self.moment += self.step
        return self.moment

    def time(self) -> float:
        return self.ahead + self.moment
