"""Compiled inner loops: free functions on contiguous arrays, and nothing of the rest of vecdb.

The package itself imports nothing, so that ``import vecdb`` costs no numba. Import a module inside
the function that needs it.

Common to every kernel:

* scores are float32 and larger is better: ``dot``, minus squared ``euclid``, minus ``manhattan``;
* a mask is a bitmap, ``uint8[ceil(n / 8)]``, little bit order; length 0 means "all rows";
* input arrays may be read-only (mapped files are), kernels release the GIL and start no threads;
* one row is scored by the same instructions wherever it stands, so equal rows have equal scores
  to the last bit, in a scan and in rescoring.
"""
