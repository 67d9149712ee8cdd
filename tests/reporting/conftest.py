from reporting_fixtures import shelf, trained

__all__ = ["shelf", "trained"]
