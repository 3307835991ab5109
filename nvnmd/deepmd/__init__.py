"""DeePMD-kit's files: `config.npy`, `weight.npy`, `map.npy`, `model.pb`, and whole run folders.

The only place that knows their names and layouts. May import `mapping`, `network`, `quantize`,
`inputs` and the rooms below them. Start with `importer.import_model` and `export.export_deepmd`.
"""
