"""The input contract: its keys, the rules for them, and the checks of a document.

A document goes in, one frozen `config.RunConfig` comes out, or every mistake by name. May import
`data` and `neighbors`. Start with `read.load_input`; `contract` is the tree of keys.
"""
