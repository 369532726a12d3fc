"""Kernel models in the span of their rows: outputs ``f = f0 + K alpha`` and a penalty ``strength/2 alpha'K alpha``."""
