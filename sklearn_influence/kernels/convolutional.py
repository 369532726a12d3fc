"""The neural tangent kernel of a convolutional network of infinite width."""

import numpy as np
from sklearn.gaussian_process.kernels import Kernel

from .._backend import array_namespace, on_card, to_numpy
from .._parallel import block_size, blocks, threads
from .._validation import check_count
from .band import Band
from .fused import FusedBand
from .rows import as_pair, as_rows, check_sigmas, is_device_array, is_float32

PAIRS = 32  # image pairs of a block: enough for long loops, few enough for the cache
PAIRS_ON_CARD = 2**13  # enough threads to fill one
LISTED = 2**16  # pairs that are listed, and shared among threads, at a time


class ConvolutionalNTK(Kernel):
    """The tangent kernel of a convolutional network of infinite width, trained in all its layers and biases.

    ``depth`` times a 3 x 3 convolution with zero padding, a ReLU and a 2 x 2 average pool; then the pixels are
    flattened into a dense layer. In the NTK parametrisation, see :class:`~sklearn_influence.NeuralTangentKernel`; a
    convolution divides by its fan-in, 9 times the channels. A kernel of ``sklearn.gaussian_process.kernels`` without
    hyper-parameters to optimise.

    Parameters
    ----------
    depth : int, default=3
        Blocks of a convolution, a ReLU and a pool.
    image_shape : (int, int, int)
        Height, width and channels. A row of X is an image of this shape, flattened. A pool of an odd size pads the far
        side with zeros, and still divides by 4.
    sigma_w : float, default=sqrt(2)
        Standard deviation of the weights, > 0.
    sigma_b : float, default=0.1
        Standard deviation of the biases, >= 0.

    Notes
    -----
    Only those pairs of pixels are worked on that the flattening head can reach, 168 thousand instead of 1.1 million
    ReLUs for images of 32 x 32 and depth 3: the result is the same. Accuracy as in NeuralTangentKernel.
    Cost: some milliseconds for a pair of 32 x 32 images, a tenth of one at 8 x 8, on as many threads as
    ``joblib.parallel_config`` says. Temporaries stay within scikit-learn's ``working_memory``.

    References
    ----------
    Arora et al., "On exact computation with an infinitely wide neural net", Section 4.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_influence.kernels import ConvolutionalNTK
    >>> kernel = ConvolutionalNTK(depth=1, image_shape=(4, 4, 1), sigma_b=0.0)
    >>> images = np.eye(16)[:2]
    >>> kernel(images).round(4)
    array([[0.041 , 0.0294],
           [0.0294, 0.0571]])
    """

    def __init__(self, depth=3, *, image_shape, sigma_w=2**0.5, sigma_b=0.1):
        self.depth = depth
        self.image_shape = image_shape
        self.sigma_w = sigma_w
        self.sigma_b = sigma_b

    def __call__(self, X, Y=None, eval_gradient=False):
        """The tangent kernel of the images in X with those in Y.

        Parameters
        ----------
        X : array-like of shape (n, H * W * C)
        Y : array-like of shape (m, H * W * C), default=None
            None, or X itself: the images of X with one another, exactly symmetric.
        eval_gradient : bool, default=False
            Nothing is there to derive by.

        Returns
        -------
        K : array of shape (n, m)
            float32 where both are, else float64; of X's namespace.
        K_gradient : ndarray of shape (n, n, 0)
            With ``eval_gradient``.

        Raises
        ------
        ValueError
            For parameters or rows that cannot be used, and for a gradient with Y.

        Examples
        --------
        >>> import numpy as np
        >>> from sklearn_influence.kernels import ConvolutionalNTK
        >>> kernel = ConvolutionalNTK(image_shape=(2, 2, 1), sigma_b=0.0)
        >>> kernel(np.ones((1, 4)), np.zeros((2, 4)))
        array([[0., 0.]])
        """
        if eval_gradient and Y is not None and Y is not X:
            raise ValueError("Gradient can only be evaluated when Y is None.")
        K = self._matrix(X, Y, tangent=True)
        return (K, np.empty((*K.shape, 0))) if eval_gradient else K

    def nngp(self, X, Y=None):
        """The kernel of the same network untrained, as a Gaussian process.

        Examples
        --------
        >>> import numpy as np
        >>> from sklearn_influence.kernels import ConvolutionalNTK
        >>> kernel = ConvolutionalNTK(depth=1, image_shape=(4, 4, 1), sigma_b=0.0)
        >>> kernel.nngp(np.eye(16)[:2]).round(4)
        array([[0.0272, 0.0224],
               [0.0224, 0.0363]])
        """
        return self._matrix(X, Y, tangent=False)

    def diag(self, X):
        """The kernel of each image with itself, (n,), in the time of n pairs.

        Examples
        --------
        >>> import numpy as np
        >>> from sklearn_influence.kernels import ConvolutionalNTK
        >>> ConvolutionalNTK(depth=1, image_shape=(4, 4, 1), sigma_b=0.0).diag(np.eye(16)[:2]).round(4)
        array([0.041 , 0.0571])
        """
        self._checked()
        X = self._images(as_rows(X))
        return _like(self._variances(_positions(X, self.image_shape))[2], X)

    def is_stationary(self):
        """False: the kernel knows where the origin is."""
        return False

    def __repr__(self):
        return (
            f"ConvolutionalNTK(depth={self.depth}, image_shape={self.image_shape!r}, sigma_w={self.sigma_w:.3g}, "
            f"sigma_b={self.sigma_b:.3g})"
        )

    def _checked(self):
        check_count("depth", self.depth)
        check_sigmas(self.sigma_w, self.sigma_b)
        try:
            height, width, channels = self.image_shape
        except (TypeError, ValueError):
            raise ValueError(f"image_shape must be (height, width, channels), got {self.image_shape!r}.") from None
        for name, value in (("height", height), ("width", width), ("channels", channels)):
            check_count(f"The {name} in image_shape", value)

    def _images(self, X):
        """Rows that are images of the shape."""
        if X.shape[1] != np.prod(self.image_shape):
            shape = " x ".join(map(str, self.image_shape))
            raise ValueError(
                f"Rows must be images of image_shape, {shape} = {np.prod(self.image_shape)} numbers each; "
                f"got {X.shape[1]}."
            )
        return X

    def _band(self, images):
        """The band, and the pairs of a block of it, for images here or on a card."""
        kind, largest = (FusedBand, PAIRS_ON_CARD) if on_card(images) else (Band, PAIRS)
        band = kind(tuple(self.image_shape)[:2], self.depth, self.sigma_w, self.sigma_b)
        return band, block_size(8 * band.floats_per_pair(), share=0.5, largest=largest)

    def _variances(self, images):
        """Of all images: their variances at each block, and the diagonals of the two kernels."""
        (band, size), xp = self._band(images), array_namespace(images)
        found = _each(lambda i: band.variances(images[..., i]), blocks(images.shape[-1], size), images)
        levels, *diagonals = zip(*found, strict=True)
        variances = [xp.concat(parts, axis=-1) for parts in zip(*levels, strict=True)]
        return variances, *(xp.concat(parts) for parts in diagonals)

    def _matrix(self, X, Y, tangent):
        self._checked()
        X, Y = as_pair(X, Y)
        self._images(X)
        first = _positions(X, self.image_shape)
        variances, *diagonals = self._variances(first)
        second, others = first, variances
        if Y is not None:
            second = _positions(Y, self.image_shape)
            others = self._variances(second)[0]
        (band, size), xp = self._band(first), array_namespace(first)
        K = xp.empty((first.shape[-1], second.shape[-1]), dtype=xp.float64)
        for i, j in _pairs(*K.shape, symmetric=Y is None):

            def work(part, i=i, j=j):
                a, b = xp.asarray(i[part]), xp.asarray(j[part])
                left, *v = (xp.take(part, a, axis=-1) for part in (first, *variances))  # unlike [..., a], in C order
                right, *u = (xp.take(part, b, axis=-1) for part in (second, *others))
                K[a, b] = band.kernels(left, right, v, u)[int(tangent)]

                if Y is None:
                    K[b, a] = K[a, b]

            _each(work, blocks(len(i), size), first)
        if Y is None:
            i = xp.arange(len(K))
            K[i, i] = diagonals[int(tangent)]
        return _like(K, X, Y)


def _each(function, items, images):
    """The function of each block: on threads for images here, one after the other on a card, which has its own."""
    return [function(item) for item in items] if on_card(images) else threads(function, items, None)


def _positions(X, shape):
    """Rows as images (C, H, W, n), float64: what is worked on is long and contiguous along the images.

    Rows on a card stay there; those of any other namespace are worked on here.
    """
    if on_card(X):
        xp = array_namespace(X)
        return xp.astype(xp.permute_dims(xp.reshape(X, (-1, *shape)), (3, 1, 2, 0)), xp.float64)
    dense = X.toarray() if hasattr(X, "toarray") else to_numpy(X)
    return np.ascontiguousarray(dense.reshape(-1, *shape).transpose(3, 1, 2, 0), dtype=np.float64)


def _pairs(n, m, symmetric):
    """Lists ``(i, j)`` that cover all pairs, or those with i < j."""
    for rows in blocks(n, max(1, LISTED // m)):
        i, j = np.divmod(np.arange(rows.start * m, rows.stop * m), m)
        yield (i[i < j], j[i < j]) if symmetric else (i, j)


def _like(K, X, Y=None):
    """K, of float64, in the precision and namespace of the rows."""
    xp = array_namespace(K)
    K = xp.astype(K, xp.float32) if is_float32(X, Y) else K
    return array_namespace(X).asarray(K) if is_device_array(X) else K
