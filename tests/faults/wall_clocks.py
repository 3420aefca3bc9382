"""Wall clocks that can be set: processes that load `clock.c` tell the time that a test wants, as after a step of a machine's clock."""

import shutil
import struct
import subprocess
from dataclasses import dataclass
from pathlib import Path

SOURCE = Path(__file__).with_name("clock.c")


@dataclass(frozen=True)
class Clock:
    """The clock of all processes that were started with its `environment`. `file` holds how many seconds it is ahead."""

    file: Path
    library: Path

    @property
    def environment(self) -> dict[str, str]:
        return {"LD_PRELOAD": str(self.library), "CLOCK_OFFSET_FILE": str(self.file)}

    @property
    def offset(self) -> int:
        return int(struct.unpack("=q", self.file.read_bytes())[0])

    def step(self, seconds: int) -> None:
        """Jumps ahead, or back where it is negative."""
        with self.file.open("r+b") as handle:  # written over in place: processes have it mapped
            handle.write(struct.pack("=q", self.offset + seconds))


def clocks(folder: Path, *names: str) -> dict[str, Clock]:
    """Clocks that tell the true time so far; none where there is no C compiler."""
    if shutil.which("cc") is None:
        return {}
    library = folder / "clock.so"
    subprocess.run(["cc", "-O1", "-shared", "-fPIC", "-o", library, SOURCE, "-ldl"], check=True)
    made = {name: Clock(folder / f"clock-{name}", library) for name in names}
    for clock in made.values():
        clock.file.write_bytes(struct.pack("=q", 0))
    return made
