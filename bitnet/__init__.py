"""BitNet b1.58 language models: the subject that lrtune ships with."""
