"""What nobody outside imports: arguments, dtypes, memory, extras, files, figures, tables, integers, typing."""
