"""The Jacobian of a torch module by its parameters, row by row, with ``torch.func``."""

import numpy as np


class TorchJacobian:
    """Derivatives of a module's outputs by the parameters that require a gradient, in double precision.

    torch is imported when one is made, and never without.

    Parameters
    ----------
    module : torch.nn.Module
        Called with one row at a time, (1, ...). It, its parameters, buffers and mode stay as they are.

    Raises
    ------
    ValueError
        Where no parameter requires a gradient.
    """

    def __init__(self, module):
        tensors = {**dict(module.named_parameters()), **dict(module.named_buffers())}
        self.module = module
        self._trained = {name for name, tensor in tensors.items() if tensor.requires_grad}
        if not self._trained:
            raise ValueError(
                f"No parameter of the module {type(module).__name__} requires a gradient, so that it has no tangent "
                "kernel. Call requires_grad_() on those that count."
            )
        # Copies: neither a buffer that the module writes on in training mode nor a gradient may be the user's.
        self._tensors = {name: self._double(tensor.detach().clone()) for name, tensor in tensors.items()}
        self._activations = 0  # numbers that a backward pass of one row has to keep

    @staticmethod
    def _double(tensor):
        return tensor.double() if tensor.is_floating_point() else tensor

    def rows(self, X, what):
        """Rows (n, ...) as a tensor where the parameters are; whole numbers stay whole."""
        import torch

        if not isinstance(X, torch.Tensor):
            X = torch.as_tensor(np.ascontiguousarray(X))
        if X.ndim < 1 or not len(X):
            raise ValueError(f"{what} must hold at least one row, along its first axis; got shape {tuple(X.shape)}.")
        if X.is_floating_point() and not bool(torch.isfinite(X).all()):
            raise ValueError(f"{what} must not hold NaN or infinity: fill or drop those entries first.")
        return self._double(X.detach()).to(self._tensors[min(self._trained)].device)

    def empty(self, shape):
        """A tensor where the parameters are, to be filled."""
        return self._tensors[min(self._trained)].new_empty(shape)

    def bytes_per_row(self, q, p):
        """Of temporaries: the Jacobian and a copy of it; activations, and their derivatives by each output."""
        return 8 * (2 * q * p + (1 + q) * self._activations)

    def __call__(self, X, part):
        """The Jacobian (k, q, p) of some of the rows, a tensor."""
        import torch
        from torch.func import jacrev, vmap

        trained = {name: self._tensors[name] for name in self._trained}
        try:
            self._activations = self._activations or self._count(trained, X[part.start])
            found = vmap(jacrev(self._outputs), in_dims=(None, 0))(trained, X[part])
        except torch.OutOfMemoryError:
            raise
        except (RuntimeError, ValueError) as error:
            raise ValueError(self._sentence(X, error)) from error
        q = found[min(self._trained)].shape[1]
        J = torch.cat([J.reshape(len(J), q, -1) for J in found.values()], dim=2)
        if not bool(torch.isfinite(J).all()):
            raise ValueError("The module's Jacobian must not hold NaN or infinity.")
        return J

    def _outputs(self, trained, row):
        """(q,) of one row."""
        from torch.func import functional_call

        return functional_call(self.module, {**self._tensors, **trained}, (row[None],))[0].reshape(-1)

    def _count(self, trained, row):
        """Numbers that a backward pass of one row keeps, weights among them."""
        import torch

        kept = []
        trained = {name: tensor.clone().requires_grad_() for name, tensor in trained.items()}
        with torch.autograd.graph.saved_tensors_hooks(lambda tensor: kept.append(tensor.numel()), lambda _: None):
            self._outputs(trained, row)
        return sum(kept)

    def _sentence(self, X, error):
        sentence = (
            f"The module {type(self.module).__name__} cannot be differentiated row by row, on a row of shape "
            f"{(1, *X.shape[1:])}: {error}"
        )
        if self.module.training:
            sentence += (
                ". It is in training mode: if that is batch normalisation or dropout, which then have no outputs of a "
                "row alone, call module.eval() first."
            )
        return sentence
