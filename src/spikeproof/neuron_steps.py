"""All time steps of a layer's neurons as one operation with its own backward pass.

Forward and backward are loops over time with a few in-place operations each. Autograd would record every one of them, and keep
every intermediate tensor: here only the membranes before reset, the spikes and (in codes) a mask are kept.

Callers' tensors are [T, B, C, H, W]; inside they are [T, B, H, W, C], as convolutions leave them in memory: torch is ten times
slower on the former with the latter's strides.
"""
import torch

from .surrogates import SURROGATES

__all__ = ["code_steps", "float_steps"]


def _inside(x):
    """[..., C, H, W] -> [..., H, W, C], contiguous; no copy of what a channels-last convolution gave."""
    return x.movedim(-3, -1).contiguous()


def _outside(x):
    """[..., H, W, C] -> [..., C, H, W], a view."""
    return x.movedim(-1, -3)


def _at(drive, t):
    return drive[t if len(drive) > 1 else 0]


class _Gather:
    """Gradients of the drive, step by step: kept apart, or summed where one drive serves all steps."""
    def __init__(self, length, like):
        self.length = length
        self.total = (torch.zeros if length == 1 else torch.empty)((length, *like.shape), dtype=like.dtype, device=like.device)

    def put(self, t, grad):
        if self.length == 1:
            self.total[0] += grad
        else:
            self.total[t] = grad


class _FloatSteps(torch.autograd.Function):
    @staticmethod
    def forward(ctx, drive, steps, beta, soft, fires, surrogate):
        drive = _inside(drive)
        v = torch.zeros_like(drive[0])
        ctx.set_materialize_grads(False)
        ctx.given = len(drive), steps, beta, soft, fires, surrogate
        if not fires:
            for t in range(steps):
                v = v.mul_(beta).add_(_at(drive, t))
            ctx.save_for_backward()
            return drive.new_empty(0), _outside(v)
        h, s = drive.new_empty(steps, *v.shape), drive.new_empty(steps, *v.shape)
        for t in range(steps):
            torch.add(_at(drive, t), v, alpha=beta, out=h[t])
            torch.ge(h[t], 1, out=s[t])
            if soft:
                torch.sub(h[t], s[t], out=v)
            else:
                torch.mul(h[t], s[t], out=v)
                torch.sub(h[t], v, out=v)
        ctx.save_for_backward(h, s)
        return _outside(s), _outside(v)

    @staticmethod
    def backward(ctx, grad_s, grad_v):
        length, steps, beta, soft, fires, surrogate = ctx.given
        grad_s, grad_v = (None if grad is None else _inside(grad) for grad in (grad_s, grad_v))
        if fires:
            h, s = ctx.saved_tensors
            slope = SURROGATES[surrogate.name](h - 1, surrogate.width)
        grad = torch.zeros_like(h[0]) if grad_v is None else grad_v
        gather = _Gather(length, grad)
        for t in reversed(range(steps)):
            if fires:
                # v = h - s (soft) or h (1 - s) (hard); s has the surrogate's derivative.
                own = 0 if grad_s is None else grad_s[t]
                to_s = own - (grad if soft else grad * h[t])
                if not soft:
                    grad = torch.addcmul(grad, grad, s[t], value=-1)
                grad = torch.addcmul(grad, to_s, slope[t])
            gather.put(t, grad)
            grad = grad * beta
        return _outside(gather.total), None, None, None, None, None


def float_steps(drive, steps, neuron, fires, surrogate):
    """Neurons in full precision with threshold 1.

    Parameters
    ----------
    drive : [T or 1, B, C, H, W], values; one drive serves all steps
    steps : int
    neuron : a neuron of the catalog (beta, reset)
    fires : bool; without, membranes only integrate
    surrogate : Surrogate

    Returns
    -------
    (spikes [T, B, C, H, W] or None, last membrane [B, C, H, W])
    """
    s, v = _FloatSteps.apply(drive, steps, neuron.beta, neuron.reset == "soft", fires, surrogate)
    return (s if fires else None), v


def _leak(leak, v):
    """Step 1 of the contract on integer-valued v, in place."""
    if leak.kind == "subtract_shift":
        return v.sub_((v * 2.0**-leak.shift).floor_())
    if leak.kind == "shift":
        return v.mul_(2.0**-leak.shift).floor_()
    if leak.kind == "multiply":
        return v.mul_(leak.multiplier * 2.0**-leak.fraction).floor_()
    return v


def leak_slope(leak):
    """Derivative of a leak without its rounding."""
    return {"subtract_shift": 1 - 2.0**-leak.shift, "shift": 2.0**-leak.shift,
            "multiply": leak.multiplier * 2.0**-leak.fraction, "none": 1.0}[leak.kind]


class _CodeSteps(torch.autograd.Function):
    @staticmethod
    def forward(ctx, acc, theta, steps, neuron, draws, fires, surrogate):
        store, unit = neuron.store, 2.0**neuron.store.shift
        soft = neuron.reset == "soft"
        acc, theta = _inside(acc), theta.flatten()
        v = torch.full_like(acc[0], neuron.v_init * unit)
        h, codes, inside = (acc.new_empty(steps, *v.shape) for _ in range(3))
        s = acc.new_empty(steps if fires else 0, *v.shape)
        draws = _inside(draws)
        for t in range(steps):
            torch.add(_leak(neuron.leak, v), _at(acc, t), out=h[t])
            if not fires:
                v.copy_(h[t])
            else:
                torch.ge(h[t], theta, out=s[t])
                if soft:
                    torch.addcmul(h[t], s[t], theta, value=-1, out=v)
                else:
                    torch.addcmul(h[t], s[t], h[t] - neuron.v_reset, value=-1, out=v)
            v.mul_(1 / unit)
            if store.rounding == "stochastic":
                v.add_(draws[t], alpha=1 / unit).floor_()
            elif store.rounding == "half_up":
                v.add_(0.5).floor_()
            elif store.rounding == "half_even":
                v.round_()
            else:
                v.floor_()
            torch.clamp(v, store.lo, store.hi, out=codes[t])
            torch.eq(v, codes[t], out=inside[t])
            torch.mul(codes[t], unit, out=v)
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(h, s, inside, theta)
        ctx.given = len(acc), steps, neuron, fires, surrogate
        return _outside(s), _outside(codes)

    @staticmethod
    def backward(ctx, grad_s, grad_codes):
        h, s, inside, theta = ctx.saved_tensors
        length, steps, neuron, fires, surrogate = ctx.given
        unit, soft = 2.0**neuron.store.shift, neuron.reset == "soft"
        gather, slope = _Gather(length, h[0]), leak_slope(neuron.leak)
        grad_s, grad_codes = (None if grad is None else _inside(grad) for grad in (grad_s, grad_codes))
        if fires:
            shape = SURROGATES[surrogate.name]((h - theta) / theta, surrogate.width).div_(theta)
        grad = torch.zeros_like(h[0])
        for t in reversed(range(steps)):
            # The store counts as the identity inside its range, and passes nothing outside.
            grad = (grad if grad_codes is None else torch.add(grad, grad_codes[t], alpha=1 / unit)) * inside[t]
            if fires:
                own = 0 if grad_s is None else grad_s[t]
                to_s = own - grad * (theta if soft else h[t] - neuron.v_reset)
                if not soft:
                    grad = torch.addcmul(grad, grad, s[t], value=-1)
                grad = torch.addcmul(grad, to_s, shape[t])
            gather.put(t, grad)
            grad = grad * slope
        return _outside(gather.total), None, None, None, None, None, None


def code_steps(acc, theta, steps, neuron, draws, fires, surrogate):
    """Neurons in integer codes: the five steps of :mod:`spikeproof.spec`.

    Gradients: the leak's and the store's rounding count as the identity, clipping passes nothing, the spike has the surrogate's
    derivative of (h - theta) / theta. Thresholds get none.

    Parameters
    ----------
    acc : [T or 1, B, C, H, W], integer-valued sums
    theta : [C or 1, 1, 1], integer-valued thresholds
    steps : int
    neuron : NeuronSpec
    draws : [T, 1, C, H, W], for stochastic rounding
    fires : bool
    surrogate : Surrogate

    Returns
    -------
    (spikes [T, B, C, H, W] or None, stored codes [T, B, C, H, W])
    """
    s, codes = _CodeSteps.apply(acc, theta, steps, neuron, draws, fires, surrogate)
    return (s if fires else None), codes
