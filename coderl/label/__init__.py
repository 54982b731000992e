"""How do people say which program is better? A page for annotators, a store that loses nothing, and what their answers say."""
