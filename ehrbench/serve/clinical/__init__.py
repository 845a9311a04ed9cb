"""Clinical conventions: what hospitals' systems send and read, FHIR R4 and CDS Hooks, for one prediction.

``code_map`` says which codes mean which of a task's values, ``clinical_record`` makes a raw record of FHIR's
resources, ``fhir`` and ``cds_hooks`` answer. Nothing here knows a model.
"""
