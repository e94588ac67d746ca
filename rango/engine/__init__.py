"""Documents, transactions, plans. Knows trees and mutations, not files."""
