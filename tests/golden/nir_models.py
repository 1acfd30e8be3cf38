"""Small networks of other libraries: their NIR files, inputs, and the spikes that the libraries themselves compute.

Runs in an environment of its own, beside the library: ``python nir_models.py snntorch FOLDER``. Weights are multiples of 1/64 and
inputs are spikes, so that floating point is exact and a membrane often stands at its threshold.
"""
import sys
from pathlib import Path

import nir
import numpy as np
import torch

BATCH, STEPS = 6, 9


def on_grid(net, gain):
    """Weights as multiples of 1/64."""
    for parameter in net.parameters():
        parameter.data = (parameter.data * gain * 64).round() / 64
    return net


def snntorch_models():
    import snntorch as snn
    from snntorch.export_nir import export_to_nir

    def leaky(beta, threshold, shape, mechanism):
        return snn.Leaky(beta=beta * torch.ones(shape), threshold=threshold * torch.ones(shape), reset_mechanism=mechanism,
                         reset_delay=False, init_hidden=True)

    def synaptic(alpha, beta, shape):
        return snn.Synaptic(alpha=alpha * torch.ones(shape), beta=beta * torch.ones(shape), threshold=torch.ones(shape),
                            reset_mechanism="zero", reset_delay=False, init_hidden=True)
    nets = {
        "conv_hard": on_grid(torch.nn.Sequential(
            torch.nn.Conv2d(1, 4, 3, padding=1), leaky(0.75, 0.5, (4, 8, 8), "zero"), torch.nn.AvgPool2d(2), torch.nn.Flatten(),
            torch.nn.Linear(64, 10), leaky(0.5, 0.25, (10,), "zero")), 2),
        "dense_soft": on_grid(torch.nn.Sequential(
            torch.nn.Flatten(), torch.nn.Linear(64, 20), leaky(0.875, 1.0, (20,), "subtract"), torch.nn.Linear(20, 10, bias=False),
            leaky(0.5, 0.5, (10,), "subtract")), 1),
        "synaptic_hard": on_grid(torch.nn.Sequential(
            torch.nn.Flatten(), torch.nn.Linear(64, 20), synaptic(0.5, 0.75, (20,)), torch.nn.Linear(20, 10),
            leaky(0.5, 0.5, (10,), "zero")), 2),
    }
    for name, net in nets.items():
        yield name, net, export_to_nir(net, torch.zeros(1, 1, 8, 8), model_name=name, ignore_dims=[0])


def snntorch_spikes(net, x):
    """x [T, B, 1, 8, 8] -> spikes of each firing layer [T, B, ...]."""
    from snntorch import utils
    utils.reset(net)
    out = []
    for now in x:
        spikes = []
        for module in net:
            now = module(now)
            if hasattr(module, "threshold"):
                spikes.append(now)
                # The library subtracts once more where a membrane is still above its threshold: no case for a comparison.
                assert module.reset_mechanism == "zero" or bool((module.mem <= module.threshold).all())
        out.append(spikes)
    return [torch.stack(of) for of in zip(*out)]


def sinabs_models():
    import sinabs.layers as sl
    from sinabs.activation import SingleSpike
    from sinabs.nir import to_nir
    nets = {
        "conv_iaf": on_grid(torch.nn.Sequential(
            torch.nn.Conv2d(1, 4, 3, padding=1), sl.IAFSqueeze(batch_size=1, spike_fn=SingleSpike), sl.SumPool2d(2),
            torch.nn.Flatten(), torch.nn.Linear(64, 10),
            sl.LIFSqueeze(tau_mem=4.0, batch_size=1, spike_fn=SingleSpike, norm_input=False)), 1),
    }
    for name, net in nets.items():
        graph = to_nir(net, torch.zeros(1, 1, 8, 8), model_name=name)
        for node in graph.nodes.values():                            # left open, and then it cannot be written
            if isinstance(node, nir.Conv2d):
                node.input_shape = (8, 8)
            if isinstance(node, nir.Flatten):
                node.input_type = {"input": np.array([4, 4, 4])}
        yield name, net, graph


def sinabs_spikes(net, x):
    import sinabs.layers as sl
    spikes = []
    for image in range(x.shape[1]):
        now, found = x[:, image], []                                 # a batch of one: steps in a row
        for module in net:
            if isinstance(module, sl.StatefulLayer):
                module.reset_states()
            now = module(now)
            if isinstance(module, sl.StatefulLayer):
                found.append(now)
        spikes.append(found)
    return [torch.stack(of, 1) for of in zip(*spikes)]


def main(library, folder):
    torch.manual_seed(1)
    folder = Path(folder)
    models, spikes = {"snntorch": (snntorch_models, snntorch_spikes), "sinabs": (sinabs_models, sinabs_spikes)}[library]
    with torch.no_grad():
        for name, net, graph in models():
            frames = (torch.rand(BATCH, STEPS, 1, 8, 8) < 0.4).float()
            found = spikes(net, frames.transpose(0, 1))
            nir.write(folder / f"{name}.nir", graph)
            np.savez(folder / f"{name}.npz", frames=frames.numpy(), **{f"spikes{k}": of.numpy() for k, of in enumerate(found)})
            print(name, *(f"{float(of.mean()):.3f}" for of in found))


if __name__ == "__main__":
    main(*sys.argv[1:])
