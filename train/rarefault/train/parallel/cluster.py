"""Independent tasks one after the other in this process, or side by side on a Ray cluster; the results are the same."""

import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from rarefault.runtime.errors import RarefaultError, UsageError

Task = TypeVar("Task")
Result = TypeVar("Result")

#: Stands for a cluster of this machine's own, which ends with the command.
LOCAL = "local"


def run_all(
    function: Callable[[Task], Result], tasks: Sequence[Task], address: str | None = None, cpus: int | None = None
) -> Iterator[tuple[int, Result]]:
    """Apply a function to all tasks; number and result of each as it is done.

    Each task has one processor; the function must not depend on which process it runs in. With Ray, the function's
    files must be in reach of all nodes, at the same paths.

    Args:
        function: of a module, so that other processes find it.
        tasks: what it is applied to.
        address: None for this process; ``local`` for a Ray cluster on this machine, ``auto`` for the one that it
            belongs to, else where a cluster is (``ray://host:10001``).
        cpus: processors of a local cluster; all by default.

    Raises:
        UsageError: Ray is not installed, or the cluster cannot be reached.
        RarefaultError: what a task raised.
    """
    if address is None:
        for number, task in enumerate(tasks):
            yield number, function(task)
        return
    ray = _connect(address, cpus)
    try:
        yield from _run_on(ray, function, tasks)
    finally:
        ray.shutdown()


def _connect(address: str, cpus: int | None) -> Any:
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        import ray
    except ModuleNotFoundError as error:
        if error.name != "ray":
            raise
        raise UsageError("--ray needs Ray: pip install 'rarefault[cluster]'") from error
    quiet: dict[str, Any] = {"include_dashboard": False, "configure_logging": False, "log_to_driver": False}
    try:
        if address == LOCAL:
            ray.init(num_cpus=cpus, _node_ip_address="127.0.0.1", **quiet)
        else:
            ray.init(address=address, log_to_driver=False)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise UsageError(f"--ray {address}: the cluster cannot be used: {str(error).splitlines()[0]}") from error
    return ray


def _run_on(ray: Any, function: Callable[[Task], Result], tasks: Sequence[Task]) -> Iterator[tuple[int, Result]]:
    # A task that failed by its own fault would fail again.
    remote = ray.remote(num_cpus=1, max_retries=0)(function)
    running = {remote.remote(task): number for number, task in enumerate(tasks)}
    while running:
        done, _ = ray.wait(list(running), num_returns=1)
        number = running.pop(done[0])
        try:
            result: Result = ray.get(done[0])
        except ray.exceptions.RayTaskError as error:
            cause = error.cause
            if isinstance(cause, RarefaultError):
                raise cause from error
            raise
        except ray.exceptions.WorkerCrashedError as error:
            raise RarefaultError(
                f"a worker of the cluster died at task {number + 1}, perhaps for want of memory"
            ) from error
        yield number, result
