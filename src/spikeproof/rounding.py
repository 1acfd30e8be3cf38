"""What training in fixed point adds to the loop: fresh draws of stochastic rounding, and weights that are kept rounded."""
import torch

from .training import Method, seed_of

__all__ = ["RoundedTraining"]


class RoundedTraining(Method):
    """Fresh draws in every forward pass of training, the same ones after a restart; weights rounded after every update where the
    quantizer says so.

    Parameters
    ----------
    quantizer : FixedPointQuantizer
    """
    def __init__(self, quantizer):
        self.quantizer, self.model = quantizer, None

    def start(self, model):
        self.model = model
        self.quantizer.generator = torch.Generator().manual_seed(seed_of("rounding"))

    def after_step(self):
        if self.quantizer.options.updates == "rounded":
            for layer in self.model.layers:
                if layer.shape.weighted and layer.quantizer is self.quantizer:
                    weight, scale = layer.weights[0], self.quantizer.scale(layer.weights[0].detach(), layer.per_channel)
                    weight.data.copy_(self.quantizer.codes(weight / scale).detach() * scale)

    def state(self):
        return None, {"generator": self.quantizer.generator.get_state()}

    def restore(self, value, tensors):
        self.quantizer.generator.set_state(tensors["generator"])
