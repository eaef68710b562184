"""Gradient norms of networks of other frameworks: hooks for PyTorch modules, functions for trees of JAX arrays."""

from .jax_trees import Kernel, jax_convolutions, tree_grad_norms
from .module_watch import ModuleWatch, watch

__all__ = ["Kernel", "ModuleWatch", "jax_convolutions", "tree_grad_norms", "watch"]
