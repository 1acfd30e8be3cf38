"""How many cycles the core takes, to the cycle, without simulating it.

Every register stage of the core hands on in a cycle that follows from when its data came and when the stage behind it was
free. So the cycle of every event is a maximum of earlier ones plus a constant, computed here once, in order, for each
frame, window, fetched row, token, event, group and update. The tests hold the result against both simulators.

The core is fed as fast as it takes words, and its results are taken at once. Cycle 0 is the first in which a word is offered.
"""
from dataclasses import dataclass

import numpy as np

from spikeproof import integer
from spikeproof.projections import INPUT

from .fetched import Sources, codes_of, rows_of_window
from .layout import QUEUE
from .updates import DEPTH, waiting_layers

__all__ = ["Timing", "predict"]


@dataclass(frozen=True)
class Timing:
    """Cycles of a run.

    Members
    -------
    cycles : int, until the last result is taken
    results : list of int, the cycle of each image's result
    starts : list of int, the cycle in which each image's first word is taken
    busy : dict layer -> int, cycles in which its engine took an event of the layer
    activity : dict of rows read and written, in all: frame_writes, frame_reads, weight_reads, membrane_reads, membrane_writes
    """
    cycles: int
    results: list
    starts: list
    busy: dict
    activity: dict

    @property
    def latency(self):
        """Cycles from an image's first word to its result, on average."""
        return sum(end - start + 1 for end, start in zip(self.results, self.starts)) / len(self.results)


class _Pool:
    """The maximum pool before a frame memory that some region wants pooled: a stage that the words of all its regions pass."""
    pending = 0                             # when its last finished word was stored


class _Region:
    """When the words of a map's frames are taken, and when frames are complete and released; ``pool`` is a _Pool or None."""
    def __init__(self, region, pool):
        self.banks, self.pool = region.banks, pool
        height, width, channels = region.arrives
        words = -(-channels // region.word)
        self.kept = [y % region.pool == region.pool - 1 and x % region.pool == region.pool - 1
                     for y in range(height) for x in range(width) for _ in range(words)]
        self.last = len(self.kept) - 1
        self.full, self.release, self.at, self.writes = [], [], 0, 0

    def take(self, offered):
        """A word is offered from a cycle on -> the cycle in which it is taken."""
        frame = len(self.full)
        ready = self.release[frame - self.banks] + 1 if frame >= self.banks else 0
        self.writes += self.kept[self.at]
        if self.pool is None:
            taken = stored = max(offered, ready)
        else:
            taken = max(offered, self.pool.pending)
            stored = max(taken + 1, ready)
            if self.kept[self.at]:
                self.pool.pending = stored
        if self.at == self.last:
            self.at = 0
            self.full.append(stored + 1)
        else:
            self.at += 1
        return taken


class _Walk:
    """Timing of one gather with its scanner."""
    def __init__(self, gather, steps, regions, gates):
        self.gather, self.regions, self.gates = gather, regions, gates
        self.sources = [Sources(gather, p) for p in gather.passes]
        self.turn, self.step = 0, 0
        self.steps = steps if any(p.constant for p in gather.passes) else 1
        self.idle = 0                       # from when on the next frame may start
        self.valid = 0                      # from when on the next window is prepared
        self.finished = 0                   # when the window before was issued
        self.move1 = self.move2 = self.done = 0
        self.reads = [-1] * QUEUE           # when tokens left the queue
        self.loads = 0                      # from when on the scanner takes a token
        self.accepted = 0                   # when the accumulator took the last event
        self.frames = [0] * len(gather.passes)
        self.fetches = 0                    # rows read

    def start(self):
        """The next pass begins as soon as its maps are complete."""
        p, n = self.gather.passes[self.turn], self.frames[self.turn]
        full = self.regions[p.store][p.region].full[n // (self.steps if p.constant else 1)]
        if p.gate is not None:
            full = max(full, self.gates[p.gate[0]][p.gate[1]].full[n])
        self.valid = max(self.idle, full) + 1
        self.finished = 0

    def end(self):
        """The pass's last window was issued."""
        p = self.gather.passes[self.turn]
        if p.release and (not p.constant or self.step == self.steps - 1):
            self.regions[p.store][p.region].release.append(self.finished)
        if p.gate is not None and p.release_gate:
            self.gates[p.gate[0]][p.gate[1]].release.append(self.finished)
        self.frames[self.turn] += 1
        self.idle = self.finished + 1
        self.turn += 1
        if self.turn == len(self.gather.passes):
            self.turn, self.step = 0, (self.step + 1) % self.steps

    def window(self, rows, accumulator, tail):
        """Issue rows (spikes of their parts, whether they end a plane); hand on their events.

        ``tail``: the group is complete with the last of them.
        """
        taken = max(self.valid, self.finished)
        self.valid = taken + 2
        issued, reads = taken + 1, self.reads
        count = len(rows)
        self.fetches += count
        for n, (parts, plane_end) in enumerate(rows):
            issued = max(issued, self.move1)
            self.move1 = max(issued + 1, self.move2)
            self.move2 = max(self.move1 + 1, self.done)
            if not parts and not plane_end:
                continue
            queued = self.move2
            parts = parts or (0,)
            for k, spikes in enumerate(parts):
                queued = max(queued + 1, reads[-QUEUE] + 1)
                loaded = max(queued + 1, self.loads)
                reads.append(loaded)
                emitted = max(loaded + 1, self.accepted)
                final = tail and n == count - 1 and k == len(parts) - 1
                before, self.accepted = accumulator.accept(emitted + 1, spikes or 1, final)
                self.loads = emitted if before is None else before
            self.done = queued
        del reads[:-QUEUE]
        self.finished = issued


class _Neurons:
    """Timing of accumulator, drain, neuron pipeline and packer of one engine."""
    def __init__(self, core, plan, deliver):
        self.deliver = deliver              # (layer position, cycle the word is offered) -> cycle it is taken
        self.last_event, self.stalls = -1, []
        self.drained = 0                    # when the drain may take the next group
        self.slot, self.late, self.outputs = -DEPTH, 0, []
        self.word = 0                       # when the last finished word was taken
        parts = [core.layers[k] for k in plan.layers]
        self.updates = [core.net.layers[k].neurons // part.updaters for k, part in zip(plan.layers, parts)]
        self.per_group = [part.lanes // part.updaters for part in parts]
        self.waits = waiting_layers([core.net.layers[k] for k in plan.layers], parts[0].updaters)
        self.last = len(parts) - 1 if plan.layers[-1] == len(core.net.layers) - 1 else None
        self.layer, self.index, self.result = 0, 0, None
        self.busy = [0] * len(parts)
        self.stored = 0                     # membranes rows read, and written
        self.keeps = [not core.net.layers[k].neuron.stateless for k in plan.layers]

    def accept(self, start, count, tail):
        """Take ``count`` events from a cycle on -> (cycle of the last but one or None, cycle of the last)."""
        at, before = max(start, self.last_event + 1), None
        self.busy[self.layer] += count
        for first, until in self.stalls:
            if at + count - 1 < first or at >= until:
                continue
            early = max(0, first - at)                      # events that come before the stall
            if early:
                before = at + early - 1
                count -= early
            at = until
        if count > 1:
            before = at + count - 2
        last = self.last_event = at + count - 1
        self.stalls = [stall for stall in self.stalls if stall[1] > last]
        if tail:
            self._group(last)
        return before, last

    def _group(self, accepted):
        """The sums of a group are complete with the event taken in a cycle."""
        moved = accepted + 1
        for first, until in self.stalls:
            if first <= moved < until:
                moved = until
        handed = max(moved + 1, self.drained)
        if handed > moved + 1:
            self.stalls.append((moved + 1, handed))
        offered, layer = handed + 1, self.layer
        for n in range(self.per_group[layer]):
            taken = self._update(offered, layer, n == self.per_group[layer] - 1)
            offered = taken + 1
        self.drained = taken

    def _update(self, offered, layer, group_end):
        """Sums are offered to the neurons from a cycle on -> the cycle in which they are taken.

        The pipeline's own time counts the cycles in which it moves: real time is ``slot + late``, and a refused update
        makes all later slots later.
        """
        slot = self.slot + 1
        if self.index == 0 and self.layer in self.waits:
            slot = max(slot, self.slot + DEPTH)
        while True:
            while self.outputs and self.outputs[0][0] < slot:
                self.late += self.outputs.pop(0)[1]
            held = self.outputs[0][1] if self.outputs and self.outputs[0][0] == slot else 0
            taken = slot + self.late + held
            if taken >= offered:
                break
            # Skip to the slot in which the sums are there; no later than the next refused output.
            slot = min(slot + offered - taken, max(slot + 1, self.outputs[0][0])) if self.outputs else slot + offered - taken
        self.slot = slot
        shown = slot + DEPTH + self.late + sum(delay for _, delay in self.outputs)
        if layer == self.last:
            given = shown
        else:
            given = max(shown, self.word)
            if given > shown:
                self.outputs.append((slot + DEPTH, given - shown))
            if group_end:
                self.word = self.deliver(layer, given + 1)
        self.stored += self.keeps[layer]
        self.index += 1
        if self.index == self.updates[layer]:
            self.index = 0
            self.result = given + 1
            self.layer = (layer + 1) % len(self.updates)
        return taken


class _Delivery:
    """A fork: hands words to the frame memories that want them."""
    def __init__(self, targets, regions):
        self.readers, self.free = {}, 0
        for target in targets:
            for source, region in target.regions.items():
                self.readers.setdefault(source, []).append(regions[target.port][region])

    def __call__(self, source, offered):
        start = max(offered, self.free)
        taken = max(region.take(start) for region in self.readers[source])
        self.free = taken + 1
        return taken


def predict(plan, frames, sequential=False):
    """The cycles that a core takes for some images.

    Parameters
    ----------
    plan : CorePlan
    frames : int array of input codes, [B, (T,) H, W, C]
    sequential : bool; an image is sent when the one before has its result (else back to back)

    Returns
    -------
    Timing
    """
    net, engines = plan.net, plan.engine_plans
    regions = {}
    for e, engine in enumerate(engines):
        for port, store in engine.stores():
            pool = _Pool() if any(region.pool > 1 for region in store.regions) else None
            regions[e, *port] = [_Region(region, pool) for region in store.regions]
    send = _Delivery(plan.targets([INPUT]), regions)
    neurons, walks, at = [], [], {}
    for e, engine in enumerate(engines):
        targets = plan.targets([net.layers[k].name for k in engine.layers])
        neurons.append(_Neurons(plan, engine, _Delivery(targets, regions)))
        walks.append([_Walk(gather, net.steps, [regions[e, "i", g, n] for n in range(len(gather.stores))],
                            [regions[e, "g", g, n] for n in range(len(gather.gates))])
                      for g, gather in enumerate(engine.gathers)])
        at |= {k: (e, n) for n, k in enumerate(engine.layers)}
    starts, results, offered = [], [], 0
    for image in range(len(frames)):
        trace = integer.run(net, frames[image:image + 1])
        if sequential and results:
            offered = results[-1] + 1
        for step in range(net.steps):
            if step == 0 or not net.input.constant:
                for word in range(plan.frame_words):
                    taken = send(0, offered)
                    offered = taken + 1
                    if step == 0 and word == 0:
                        starts.append(taken)
            for k in range(len(net.layers)):
                e, n = at[k]
                _layer(plan, k, engines[e].order[n], walks[e], neurons[e], trace, frames[image], step)
        results.append(neurons[-1].result)
    busy = {layer.name: neurons[at[k][0]].busy[at[k][1]] for k, layer in enumerate(net.layers)}
    updates = sum(engine.stored for engine in neurons)
    activity = {"frame_writes": sum(region.writes for store in regions.values() for region in store),
                "frame_reads": sum(walk.fetches for engine in walks for walk in engine),
                "weight_reads": sum(busy.values()), "membrane_reads": updates, "membrane_writes": updates}
    return Timing(results[-1] + 1, results, starts, busy, activity)


def _layer(plan, k, order, walks, neurons, trace, frames, step):
    """One layer in one time step: its windows and groups, in order."""
    net, layer = plan.net, plan.net.layers[k]
    parts = []
    for g, number in order:
        walk = walks[g]
        n = walk.turn
        p, source = walk.gather.passes[n], walk.sources[n]
        assert (p.layer, p.number) == (k, number)
        codes = codes_of(net, p, trace, frames, step).reshape(source.region.arrives)
        walk.start()
        parts.append((walk, source, source.rows(codes)))
    lanes = plan.layers[k].lanes
    groups = layer.shape[2] // lanes
    gate = None
    if layer.gate is not None:
        shape = net.by_name[layer.gate].shape
        gate = trace.spikes[layer.gate][0, step].reshape(shape)
        gate = gate.repeat(layer.shape[0] // shape[0], 0).repeat(layer.shape[1] // shape[1], 1)
        gate = np.broadcast_to(gate, layer.shape).reshape(-1, groups, lanes).any(2)
    closed = [((), True)]
    for position in range(layer.shape[0] * layer.shape[1]):
        made = {}
        for group in range(groups):
            for n, (walk, source, rows) in enumerate(parts):
                if gate is not None and not gate[position, group]:
                    window = closed
                else:
                    member = group // source.members
                    if (n, member) not in made:
                        made[n, member] = rows_of_window(rows[member], source.windows[position])
                    window = made[n, member]
                walk.window(window, neurons, n == len(parts) - 1)
    for walk, _, _ in parts:
        walk.end()
