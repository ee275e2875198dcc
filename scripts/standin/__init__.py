"""Stand-ins: images built from Debian's packages in place of official ones, on machines without an image registry.

They have the same programs in the same versions; the Dockerfile and compose.yaml rely on nothing else.
scripts/ops/images.py decides when one is needed, and calls `build`. Standard library only, Python 3.9.
"""
