"""What nobody outside imports: arguments, memory, extras, files, tables."""
