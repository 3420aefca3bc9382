"""Test the service, from single functions to whole clusters."""

import os
import sysconfig
import tempfile
from pathlib import Path

# What the jobs here may read, in this process and in those it starts: the defaults let nothing of a temporary folder be read.
ROOTS = (tempfile.gettempdir(), str(Path(__file__).parents[1]), sysconfig.get_paths()["stdlib"])
os.environ.setdefault("GLOSSATOR_ROOTS", os.pathsep.join(ROOTS))
