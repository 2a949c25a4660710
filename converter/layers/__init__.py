"""The layers that can be converted: a file a family, a class a layer. `base.registry` loads a file when it is needed.

`prototxt.families` says in which file a type stands.
"""
