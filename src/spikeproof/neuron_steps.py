"""All time steps of a layer's neurons as one operation with its own backward pass.

Forward and backward are loops over time with a few in-place operations each. Autograd would record every one of them, and keep
every intermediate tensor: here only the membranes before reset, the spikes and (in codes) a mask are kept. On a CPU neurons that
spike take one pass over memory (:mod:`spikeproof.fused_steps`), forward and backward; what these kernels do not know, and other
devices, have torch's operations.

Callers' tensors are [T, B, C, H, W]; inside they are [T, B, H, W, C], as convolutions leave them in memory: torch is ten times
slower on the former with the latter's strides.
"""
from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from .fused_steps import TYPES, CodeKernels, FloatKernels
from .kernels import library
from .step_parts import Gather, Rivals, along, at_step, inside, outside, start_of
from .surrogates import SURROGATES, penalty_window, stacked_gradient, tssl_gradient

if TYPE_CHECKING:
    import ctypes
    from collections.abc import Sequence
    from typing import Any

    from .neurons.base import Inhibition, Neuron
    from .spec import Lateral, Leak, NeuronSpec
    from .surrogates import Surrogate

__all__ = ["code_steps", "float_steps", "leaked"]

UNTRAINED = "neurons that inhibit each other have no gradient: evaluate without gradients"


def _fused(like: torch.Tensor) -> ctypes.CDLL | None:
    """The kernels, where they know such a tensor [T or 1, B, H, W, C]."""
    return library() if like.device.type == "cpu" and like.dtype in TYPES and like.dim() == 5 and like.numel() else None


class _FloatSteps(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, drive: torch.Tensor, theta: torch.Tensor, trained_beta: torch.Tensor | None,
                initial: torch.Tensor | None, steps: int, beta: float, soft: bool, fires: bool, surrogate: Surrogate,
                paths: Sequence[str], bound: tuple[float, bool] | None,
                rivals: Rivals | None) -> tuple[torch.Tensor, torch.Tensor]:
        drive = inside(drive)
        beta = float(beta if trained_beta is None else trained_beta)
        ctx.initial = None if initial is None else inside(initial)
        ctx.kernels = _fused(drive) if fires and bound is None and rivals is None else None
        if ctx.kernels is not None:
            ctx.set_materialize_grads(False)
            ctx.given = len(drive), steps, beta, soft, fires, surrogate, paths
            h, s, v = FloatKernels(ctx.kernels, drive, steps, theta).forward(drive, theta, ctx.initial, beta, soft,
                                                                             any(ctx.needs_input_grad))
            if h is not None:
                ctx.save_for_backward(h, s, theta)
            return outside(s), outside(v)
        if drive.dtype == torch.bfloat16:
            drive = drive.float()
        v = start_of(ctx.initial, drive[0])
        ctx.set_materialize_grads(False)
        ctx.given = len(drive), steps, beta, soft, fires, surrogate, paths
        if not fires:
            before = drive.new_empty(steps if ctx.needs_input_grad[2] else 0, *v.shape)
            for t in range(steps):
                if len(before):
                    before[t] = v
                v = v.mul_(beta).add_(at_step(drive, t))
            ctx.save_for_backward(before)
            return drive.new_empty(0), outside(v)
        h, s = drive.new_empty(steps, *v.shape), drive.new_empty(steps, *v.shape)
        level = theta.tolist() if theta.dim() == 1 else theta
        for t in range(steps):
            torch.add(at_step(drive, t), v, alpha=beta, out=h[t])
            if rivals is not None:
                rivals.inhibit(h[t])
            torch.ge(h[t], at_step(level, t), out=s[t])
            if rivals is not None:
                rivals.compete(s[t])
            if soft:
                if theta.dim() == 1:
                    torch.sub(h[t], s[t], alpha=at_step(level, t), out=v)
                else:
                    torch.addcmul(h[t], s[t], at_step(level, t), value=-1, out=v)
            else:
                torch.mul(h[t], s[t], out=v)
                torch.sub(h[t], v, out=v)
            if bound is not None:
                v = (v + 0.5).floor_() if bound[1] else v
                v.clamp_(min=bound[0])
        ctx.save_for_backward(h, s, theta)
        return outside(s), outside(v)

    @staticmethod
    def backward(ctx: Any, grad_s: torch.Tensor | None, grad_v: torch.Tensor | None) -> tuple[torch.Tensor | None, ...]:
        length, steps, beta, soft, fires, surrogate, paths = ctx.given
        grad_s, grad_v = (None if grad is None else inside(grad) for grad in (grad_s, grad_v))
        to_theta = to_beta = None
        if ctx.kernels is not None and surrogate.name in SURROGATES and not any(ctx.needs_input_grad[1:3]):
            h, s, theta = ctx.saved_tensors
            kernels = FloatKernels(ctx.kernels, h, steps, theta)
            return (outside(kernels.backward(grad_s, grad_v, h, s, theta, length, beta, soft, surrogate)), *[None] * 11)
        if fires and surrogate.name == "tssl":
            assert grad_s is not None
            h, s, theta = ctx.saved_tensors
            spent = s * (along(theta, h) if soft else h)
            starts = torch.cat([start_of(ctx.initial, h[0])[None], (h - spent)[:-1]])
            grad = tssl_gradient(grad_s, h, s, starts, along(theta, h), beta, surrogate)
            return (outside(grad if length > 1 else grad.sum(0, keepdim=True)), *[None] * 11)
        if fires:
            h, s, theta = ctx.saved_tensors
            slope = SURROGATES[surrogate.name](h - along(theta, h), surrogate.width)
            level = theta.tolist() if theta.dim() == 1 else theta
            if ctx.needs_input_grad[1]:
                to_theta = torch.zeros_like(theta)
        grad = torch.zeros_like(h[0]) if grad_v is None else grad_v
        if ctx.needs_input_grad[2]:
            to_beta = grad.new_zeros(())

        def before(t: int) -> torch.Tensor:
            """The membrane that step t starts from."""
            if not fires:
                return ctx.saved_tensors[0][t]
            if t == 0:
                return start_of(ctx.initial, h[0])
            return h[t - 1] - s[t - 1] * (at_step(level, t - 1) if soft else h[t - 1])
        gather = Gather(length, grad)
        for t in reversed(range(steps)):
            if fires:
                # v = h - s V (soft) or h (1 - s) (hard); s has the surrogate's derivative.
                own = 0 if grad_s is None else grad_s[t]
                to_s = own - (grad * at_step(level, t) if soft else grad * h[t])
                if to_theta is not None:
                    at = t if len(theta) > 1 else 0
                    if "comparison" in paths:
                        to_theta[at] -= (to_s * slope[t]).sum()
                    elif "window" in paths:
                        to_theta[at] -= (to_s * slope[t] * penalty_window(h[t] - at_step(level, t), s[t])).sum()
                    if "reset" in paths and soft:
                        to_theta[at] -= (grad * s[t]).sum()
                if not soft:
                    grad = torch.addcmul(grad, grad, s[t], value=-1)
                grad = torch.addcmul(grad, to_s, slope[t])
            gather.put(t, grad)
            if to_beta is not None:
                to_beta += (grad * before(t)).sum()
            grad = grad * beta
        return outside(gather.total), to_theta, to_beta, *[None] * 9


def float_steps(drive: torch.Tensor, theta: torch.Tensor, steps: int, neuron: Neuron, fires: bool, surrogate: Surrogate,
                paths: Sequence[str] = (), beta: torch.Tensor | None = None, initial: torch.Tensor | None = None,
                bound: tuple[float, bool] | None = None,
                lateral: Inhibition | None = None) -> tuple[torch.Tensor | None, torch.Tensor]:
    """Neurons in full precision.

    Gradients: the spike has the surrogate's derivative of h - V, in values; those of thresholds are told apart in
    :mod:`spikeproof.thresholds`.

    Parameters
    ----------
    drive : [T or 1, B, C, H, W], values; one drive serves all steps
    theta : [T or 1] or [T or 1, C], thresholds, values; of the latter no gradient is given
    steps : int
    neuron : a neuron of the catalog (beta, reset)
    fires : bool; without, membranes only integrate
    surrogate : Surrogate
    paths : which of "comparison" or "window", and "reset", a threshold's gradient goes through
    beta : scalar tensor, a trained factor of the membrane in place of the neuron's, or None
    initial : [C or 1, H or 1, W or 1], membranes at the start, values, which have no gradient; or None for 0
    bound : (lower bound of membranes after fire and reset, values; whether they are rounded to integers), or None. It has no
        gradient.
    lateral : Inhibition, or None; no gradient passes it

    Returns
    -------
    (spikes [T, B, C, H, W] or None, last membrane [B, C, H, W])
    """
    if bound is not None and torch.is_grad_enabled():
        raise RuntimeError("membranes with a bound have no gradient: evaluate without gradients")
    if lateral is not None and torch.is_grad_enabled():
        raise RuntimeError(UNTRAINED)
    rivals = None if lateral is None else Rivals(lateral.strength, lateral.one_spike)
    s, v = _FloatSteps.apply(drive, theta, beta, initial, steps, neuron.beta, neuron.reset == "soft", fires, surrogate, paths,
                             bound, rivals)
    return (s if fires else None), v


def leaked(leak: Leak, v: torch.Tensor) -> torch.Tensor:
    """Step 1 of the contract on integer-valued v, in place."""
    if leak.kind == "subtract_shift":
        return v.sub_((v * 2.0**-leak.shift).floor_())
    if leak.kind == "shift":
        return v.mul_(2.0**-leak.shift).floor_()
    if leak.kind == "multiply":
        return v.mul_(leak.multiplier * 2.0**-leak.fraction).floor_()
    return v


class _CodeSteps(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, acc: torch.Tensor, theta: torch.Tensor, level: torch.Tensor, initial: torch.Tensor | None, steps: int,
                neuron: NeuronSpec, draws: torch.Tensor, fires: bool, surrogate: Surrogate, paths: Sequence[str],
                temperature: float | None, rivals: Rivals | None) -> tuple[torch.Tensor, torch.Tensor]:
        store, unit = neuron.store, 2.0**neuron.store.shift
        soft = neuron.reset == "soft"
        acc, draws = inside(acc), inside(draws)
        ctx.initial = None if initial is None else inside(initial) * unit
        ctx.set_materialize_grads(False)
        ctx.given = len(acc), steps, neuron, fires, surrogate, paths
        ctx.kernels = _fused(acc) if fires and temperature is None and rivals is None else None
        if ctx.kernels is not None:
            kernels = CodeKernels(ctx.kernels, acc, steps, theta, neuron)
            kept, s, codes, unclipped = kernels.forward(acc, theta, ctx.initial, draws, any(ctx.needs_input_grad))
            if kept is not None:
                ctx.save_for_backward(kept, s, unclipped, theta, level)
            return outside(s), outside(codes)
        v = start_of(ctx.initial, acc[0])
        h, codes, passed = (acc.new_empty(steps, *v.shape) for _ in range(3))
        s = acc.new_empty(steps if fires else 0, *v.shape)
        for t in range(steps):
            torch.add(leaked(neuron.leak, v), at_step(acc, t), out=h[t])
            if rivals is not None:
                rivals.inhibit(h[t])
            if not fires:
                v.copy_(h[t])
            else:
                torch.ge(h[t], at_step(theta, t), out=s[t])
                if rivals is not None:
                    rivals.compete(s[t])
                if soft:
                    torch.addcmul(h[t], s[t], at_step(theta, t), value=-1, out=v)
                else:
                    torch.addcmul(h[t], s[t], h[t] - neuron.v_reset, value=-1, out=v)
            v.mul_(1 / unit)
            if temperature is not None:
                passed[t] = stacked_gradient(v, store, temperature)
            if store.rounding == "stochastic":
                v.add_(draws[t], alpha=1 / unit).floor_()
            elif store.rounding == "half_up":
                v.add_(0.5).floor_()
            elif store.rounding == "half_even":
                v.round_()
            else:
                v.floor_()
            torch.clamp(v, store.lo, store.hi, out=codes[t])
            if temperature is None:
                torch.eq(v, codes[t], out=passed[t])
            torch.mul(codes[t], unit, out=v)
        ctx.save_for_backward(h, s, passed, theta, level)
        return outside(s), outside(codes)

    @staticmethod
    def backward(ctx: Any, grad_s: torch.Tensor | None,
                 grad_codes: torch.Tensor | None) -> tuple[torch.Tensor | None, ...]:
        h, s, passed, theta, level = ctx.saved_tensors
        length, steps, neuron, fires, surrogate, paths = ctx.given
        unit, soft = 2.0**neuron.store.shift, neuron.reset == "soft"
        gather, slope = Gather(length, h[0]), neuron.leak.factor
        grad_s, grad_codes = (None if grad is None else inside(grad) for grad in (grad_s, grad_codes))
        to_theta = to_level = None
        if ctx.kernels is not None and surrogate.name in SURROGATES and not any(ctx.needs_input_grad[1:3]):
            worth = level / theta
            kernels = CodeKernels(ctx.kernels, h, steps, worth, neuron)
            return (outside(kernels.backward(grad_s, grad_codes, h, s, passed, theta, worth, length, surrogate)), *[None] * 11)
        if fires and surrogate.name == "tssl":
            assert grad_s is not None
            worth = along(level, h) / along(theta, h)              # in values a code is level / theta
            spent = s * (along(theta, h) if soft else h - neuron.v_reset)
            before = torch.cat([start_of(ctx.initial, h[0])[None], (h - spent)[:-1]])
            grad = tssl_gradient(grad_s, h * worth, s, before * worth, along(level, h), slope, surrogate) * worth
            return (outside(grad if length > 1 else grad.sum(0, keepdim=True)), *[None] * 11)
        if fires:
            # In values a code is level / theta, so the spike is that of (h / theta - 1) * level.
            levels = along(theta, h)
            worth = along(level, h) / levels
            shape = SURROGATES[surrogate.name]((h - levels) * worth, surrogate.width).mul_(worth)
            if ctx.needs_input_grad[1]:
                to_theta, to_level = torch.zeros_like(theta), torch.zeros_like(level)
        grad = torch.zeros_like(h[0])
        for t in reversed(range(steps)):
            # The store counts as the identity inside its range, and passes nothing outside; or it has the stacked gradient.
            grad = (grad if grad_codes is None else torch.add(grad, grad_codes[t], alpha=1 / unit)) * passed[t]
            if fires:
                own = 0 if grad_s is None else grad_s[t]
                to_s = own - grad * (at_step(theta, t) if soft else h[t] - neuron.v_reset)
                if to_theta is not None and to_level is not None:
                    at = t if len(theta) > 1 else 0
                    if "comparison" in paths or "window" in paths:
                        sloped = to_s * shape[t]
                        if "window" in paths:
                            sloped = sloped * penalty_window((h[t] - at_step(theta, t)) * at_step(worth, t), s[t])
                        to_theta[at] -= (sloped * h[t] / at_step(theta, t)).sum_to_size(theta.shape[1:])
                        to_level[at] += (sloped * (h[t] - at_step(theta, t))).sum_to_size(level.shape[1:]) / at_step(level, t)
                    if "reset" in paths and soft:
                        to_theta[at] -= (grad * s[t]).sum_to_size(theta.shape[1:])
                if not soft:
                    grad = torch.addcmul(grad, grad, s[t], value=-1)
                grad = torch.addcmul(grad, to_s, shape[t])
            gather.put(t, grad)
            grad = grad * slope
        return outside(gather.total), to_theta, to_level, *[None] * 9


def code_steps(acc: torch.Tensor, theta: torch.Tensor, level: torch.Tensor, steps: int, neuron: NeuronSpec, draws: torch.Tensor,
               fires: bool, surrogate: Surrogate, paths: Sequence[str] = ("comparison", "reset"),
               initial: torch.Tensor | None = None, temperature: float | None = None,
               lateral: Lateral | None = None) -> tuple[torch.Tensor | None, torch.Tensor]:
    """Neurons in integer codes: the five steps of :mod:`spikeproof.spec`.

    Gradients: the leak's and the store's rounding count as the identity, clipping passes nothing (or the store has the stacked
    gradient), the spike has the surrogate's derivative of (h / theta - 1) * level: its distance to the threshold, in values.

    Parameters
    ----------
    acc : [T or 1, B, C, H, W], integer-valued sums
    theta : [T or 1, C or 1], integer-valued thresholds
    level : [T or 1, C or 1], value of the thresholds
    steps : int
    neuron : NeuronSpec
    draws : [T, 1, C, H, W], for stochastic rounding
    fires : bool
    surrogate : Surrogate
    paths : which of "comparison" or "window", and "reset", a threshold's gradient goes through
    initial : [C or 1, H or 1, W or 1], stored codes at the start, which have no gradient; or None for 0
    temperature : float, of :func:`~spikeproof.surrogates.stacked_gradient` of the store, or None
    lateral : Lateral of the contract, or None; no gradient passes it

    Returns
    -------
    (spikes [T, B, C, H, W] or None, stored codes [T, B, C, H, W])
    """
    if lateral is not None and torch.is_grad_enabled():
        raise RuntimeError(UNTRAINED)
    rivals = None if lateral is None else Rivals(lateral.inhibition, lateral.one_spike)
    s, codes = _CodeSteps.apply(acc, theta, level, initial, steps, neuron, draws, fires, surrogate, paths, temperature, rivals)
    return (s if fires else None), codes
