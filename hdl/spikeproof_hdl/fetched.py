"""What each row that a gather fetches says, and which events it makes: for the prediction of cycles."""

import numpy as np

from spikeproof.projections import INPUT

__all__ = ["Sources", "codes_of", "rows_of_window"]


class Sources:
    """Cuts the spikes of a map into what each fetched row says: the spikes of its parts that are not silent."""
    def __init__(self, gather, p):
        self.p, self.region, self.gather = p, gather.region(p), gather
        region, projection = self.region, p.projection
        height, width, _ = region.shape
        self.maps = projection.output_map(region.shape)
        reach = [k * projection.pool for k in projection.kernel]
        pad, stride = projection.padding * projection.pool, projection.stride * projection.pool
        self.windows = [[(oy * stride - pad + y) * width + ox * stride - pad + x
                         if 0 <= oy * stride - pad + y < height and 0 <= ox * stride - pad + x < width else -1
                         for y in range(reach[0]) for x in range(reach[1])]
                        for oy in range(self.maps[0]) for ox in range(self.maps[1])]
        self.members = projection.out_channels // p.lanes // projection.groups

    def rows(self, codes):
        """codes [H, W, C] as they arrive -> list over input groups of list over planes of list over pixels of list over
        rows of tuples of spikes; the last pixel is one outside the map."""
        region, p, gather = self.region, self.p, self.gather
        height, width, channels = region.arrives
        pool = region.pool
        codes = np.asarray(codes, np.int64)
        if pool > 1:
            flip = int(region.signed) << (p.bits - 1)                        # bit patterns of signed codes, in their order
            codes = (codes ^ flip).reshape(height // pool, pool, width // pool, pool, channels).max((1, 3)) ^ flip
        codes = codes.reshape(-1, region.shape[2])
        per_group = p.projection.weights.shape[2]
        found = []
        for g in range(p.projection.groups):
            mine = np.zeros((len(codes), region.fetches * region.fetch * region.word), np.int64)
            mine[:, g * per_group:(g + 1) * per_group] = codes[:, g * per_group:(g + 1) * per_group]
            first = g * per_group // (region.fetch * region.word)
            rows = -(-per_group // (region.fetch * region.word))
            mine = mine.reshape(len(codes), region.fetches, region.fetch, region.word)[:, first:first + rows]
            width_of_word = gather.cuts * gather.part
            words = np.zeros((*mine.shape[:3], width_of_word), np.int64)
            words[..., :region.word] = mine
            planes = []
            for plane in reversed(range(p.bits)):
                spikes = (words >> plane & 1).reshape(len(codes), rows, -1, gather.part).sum(3).tolist()
                planes.append([[tuple(filter(None, row)) for row in pixel] for pixel in spikes] + [[()] * rows])
            found.append(planes)
        return found


def codes_of(net, p, trace, frames, step):
    """The map that a pass reads in a step."""
    projection = p.projection
    if projection.source == INPUT:
        return frames if net.input.constant else frames[step]
    whole = trace.membranes if projection.reads == "membranes" else trace.spikes
    return whole[projection.source][0, step].astype(np.int64) & ((1 << p.bits) - 1)


def rows_of_window(planes, pixels):
    """The rows of a window, plane by plane: (spikes of the parts, whether it ends the plane)."""
    found = []
    for plane in planes:
        rows = [(row, False) for pixel in pixels for row in plane[pixel]]
        rows[-1] = (rows[-1][0], True)
        found += rows
    return found
