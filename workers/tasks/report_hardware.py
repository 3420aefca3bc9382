"""What a gpu worker says of its machine before its first chunk."""

import importlib
import threading
from pathlib import Path

from workers.runtime.context import Runtime
from workers.runtime.memory_limit import memory_limit

GPU_DRIVER = Path("/dev/nvidiactl")


def tell(runtime: Runtime) -> None:
    """Lets a gpu worker say what it has before its first chunk: planning cuts dictionaries by the smallest worker.

    Only where there is a GPU torch is asked, beside other work, since importing it takes seconds.
    """
    if GPU_DRIVER.exists():
        threading.Thread(target=lambda: importlib.import_module("workers.tasks.model_cache").announce(runtime), name="announce", daemon=True).start()
    else:
        runtime.presence.update(device="cpu", memory_bytes=runtime.settings.gpu_worker_memory_bytes or memory_limit())
