"""The core in Amaranth's own simulator, compared with the integer model step by step."""
import random

from amaranth.sim import Simulator

from .core import Core
from .cosim import input_ints

__all__ = ["simulate"]


def simulate(plan, frames, seed=None, core=None, max_cycles=1_000_000):
    """Run images through the core.

    Parameters
    ----------
    frames : int array of input codes, [B, (T,) H, W, C]
    seed : int or None; with a seed, the input idles at random and results are refused for a while
    core : Core to simulate, or None to build it from the plan

    Returns
    -------
    (traces, winners, cycles) : traces is a dict layer -> list of (index, spikes, membranes) per update

    Raises
    ------
    TimeoutError
        If the core stops before all images are done.
    """
    core = core or Core(plan)
    rng = None if seed is None else random.Random(seed)
    images = len(frames)
    words = input_ints(plan, frames)
    traces, winners = {layer.name: [] for layer in plan.net.layers}, []
    cycles = 0

    async def feed(ctx):
        for word in words:
            while rng and rng.random() < 0.4:
                ctx.set(core.i.valid, 0)
                ctx.set(core.i.payload.as_value(), rng.getrandbits(len(core.i.payload.as_value())))
                await ctx.tick()
            ctx.set(core.i.valid, 1)
            ctx.set(core.i.payload.as_value(), word)
            await ctx.tick().until(core.i.ready)
        ctx.set(core.i.valid, 0)

    async def check(ctx):
        nonlocal cycles
        sampled = []
        for layer in plan.net.layers:
            sampled += [getattr(core, f"trace_{layer.name}_valid"), getattr(core, f"trace_{layer.name}_payload")]
        ctx.set(core.o.ready, 1)
        hold = 0                                # cycles that a result is still refused
        while len(winners) < images:
            ready = hold == 0
            ctx.set(core.o.ready, ready)
            _, _, valid, winner, *values = await ctx.tick().sample(core.o.valid, core.o.payload, *sampled)
            cycles += 1
            for n, layer in enumerate(plan.net.layers):
                if values[2 * n]:
                    update = values[2 * n + 1]
                    units = plan.layers[n].updaters
                    traces[layer.name].append((update.index, [update.spikes >> k & 1 for k in range(units)],
                                               [update.membranes[k] for k in range(units)]))
            if valid and not ready:
                hold -= 1
            if valid and ready:
                winners.append(winner)
                hold = rng.choice((0, 1, 7, 300)) if rng else 0
            if cycles > max_cycles:
                raise TimeoutError(f"the core gave {len(winners)} of {images} results in {max_cycles} cycles")

    simulator = Simulator(core)
    simulator.add_clock(1e-6)
    simulator.add_testbench(feed, background=True)
    simulator.add_testbench(check)
    simulator.run()
    return traces, winners, cycles
