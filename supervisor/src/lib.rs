//! The daemon `mastiffd` and the command line `mastiff`.
