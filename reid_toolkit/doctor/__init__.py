"""Says what this machine has, what is missing for what, and how to mend it. `reid doctor` prints it.

Packages that could crash or take long are imported in processes of their own (``probing``, ``probes``).
"""

from reid_toolkit.doctor.examination import Examination, examine
from reid_toolkit.doctor.findings import Finding

__all__ = ["Examination", "Finding", "examine"]
