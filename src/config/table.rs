//! The macro that makes, of one table, the rows and the struct with their typed values, so that neither can lack what the other has.

/// `field: type = "key", Kind, default, valid, Importance, Change, synonyms, "documentation";`
macro_rules! table {
    (
        $(#[$meta:meta])* $Name:ident, $ROWS:ident;
        $($field:ident: $type:ty = $key:literal, $kind:ident, $default:expr, $valid:expr, $importance:ident, $change:ident,
            $synonyms:expr, $doc:literal;)*
    ) => {
        $(#[$meta])*
        #[derive(Clone, PartialEq, Debug)]
        pub struct $Name {
            $(#[doc = concat!("`", $key, "`: ", $doc)] pub $field: $type,)*
        }

        /// The rows, sorted by name.
        pub static $ROWS: &[$crate::Row] = &[$($crate::Row {
            name: $key,
            kind: $crate::Kind::$kind,
            default: $default,
            valid: $valid,
            importance: $crate::Importance::$importance,
            change: $crate::Change::$change,
            synonyms: $synonyms,
            doc: $doc,
        },)*];

        impl $Name {
            /// Takes `text` for the key of `row`, which is one of these rows.
            pub(crate) fn set(&mut self, row: &$crate::Row, text: &str) -> Result<(), $crate::ConfigError> {
                row.check(text)?;
                let invalid = |why| $crate::ConfigError::Invalid { name: row.name.to_owned(), value: text.to_owned(), why };
                match row.name {
                    $($key => self.$field = $crate::value::Value::parse(text).map_err(invalid)?,)*
                    other => unreachable!("{other} is a row of another table"),
                }
                Ok(())
            }
        }

        impl Default for $Name {
            fn default() -> $Name {
                let text = |default: Option<&'static str>| default.unwrap_or("");
                $Name {
                    $($field: $crate::value::Value::parse(text($default)).expect("the default of a row is one of its values"),)*
                }
            }
        }
    };
}
pub(crate) use table;
