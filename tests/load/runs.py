"""What tests of runs share: a run that goes on until it has sent enough, however busy the machine is."""

from lab.load.runner import Figures, LoadRun

PATIENCE = 60.0


async def stopped_after(requests: int, run: LoadRun) -> Figures:
    """The last figures of a run that is stopped as soon as so many requests were answered."""
    async for figures in run.figures():
        if figures.requests >= requests:
            break
    last = await run.stop(grace=PATIENCE)
    assert last is not None
    assert last.final
    assert last.requests >= requests
    return last
