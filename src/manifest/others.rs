//! The columns of a manifest that mean nothing here, and are kept where it is written again.

use super::faces::Faces;
use super::pictures::{item, items};
use super::{Manifest, Part, write};
use crate::error::{Error, Result};
use arrow::array::{Array, ArrayRef, UInt32Array, new_null_array};
use arrow::compute::concat;
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use arrow::error::ArrowError;
use std::sync::Arc;

impl Manifest {
    /// The columns that mean nothing here, which all files must have alike.
    ///
    /// # Errors
    /// Another file lacks one, or has it as another type.
    pub fn other_columns(&self) -> Result<SchemaRef> {
        let of = |part: &Part| -> Vec<FieldRef> {
            let layout = &part.layout;
            let known: Vec<usize> = layout.texts().chain(layout.pictures.iter().map(|p| p.column)).collect();
            let fields = part.metadata.schema().fields().iter().enumerate();
            let other = |(i, field): &(usize, &FieldRef)| !known.contains(i) && !write::is_ours_by_name(field.name());
            let listed = layout.pictures.iter().any(|p| p.list);
            let faces: Vec<usize> = layout.faces.iter().flat_map(Faces::columns).filter(|_| listed).collect();
            // Of lists there is one for each picture.
            let own = fields.filter(other).map(|(i, field)| match item(field.data_type()) {
                Some(item) if faces.contains(&i) => Arc::new(item.as_ref().clone().with_name(field.name())),
                _ => field.clone(),
            });
            // What folders say is a text of every row.
            let said = part.folders.iter().map(|(name, _)| name).filter(|name| {
                let there = part.metadata.schema().index_of(name).is_ok();
                !there && !write::is_ours_by_name(name) && !layout.folders.contains(name)
            });
            own.chain(said.map(|name| Arc::new(Field::new(name, DataType::Utf8, true)))).collect()
        };
        let first = self.parts.first().map(|(_, part)| of(part)).unwrap_or_default();
        for (_, part) in &self.parts {
            let own = of(part);
            let has = |fields: &[FieldRef], f: &FieldRef| {
                fields.iter().any(|other| other.name() == f.name() && other.data_type() == f.data_type())
            };
            let lacking = first.iter().find(|f| !has(&own, f)).map(|f| (f, part, &self.parts[0].1));
            let beyond = || own.iter().find(|f| !has(&first, f)).map(|f| (f, &self.parts[0].1, part));
            if let Some((field, lacks, has)) = lacking.or_else(beyond) {
                return Err(Error::Manifest(format!(
                    "{}: has no column `{}` of type {}, as {} has; give files of one form",
                    lacks.path.display(),
                    field.name(),
                    field.data_type(),
                    has.path.display()
                )));
            }
            if let Some(twice) = own.iter().enumerate().find(|(i, f)| own[..*i].iter().any(|g| g.name() == f.name())) {
                return Err(Error::Manifest(format!(
                    "{}: lies in two folders that say `{}`; name one of them otherwise",
                    part.path.display(),
                    twice.1.name()
                )));
            }
        }
        let nullable = first.iter().map(|f| f.as_ref().clone().with_nullable(true)).collect::<Vec<_>>();
        Ok(Arc::new(Schema::new(nullable)))
    }
}

/// Of each list of `array` in the rows `taken` the item at its place, null where there is none.
pub(super) fn item_of_each(
    array: &ArrayRef,
    taken: &UInt32Array,
    places: &[usize],
    field: &Field,
) -> std::result::Result<ArrayRef, ArrowError> {
    let nothing = new_null_array(field.data_type(), 1);
    let of = |(row, place): (&u32, &usize)| {
        let items = if array.is_null(*row as usize) { nothing.slice(0, 0) } else { items(array, *row as usize)? };
        Ok(if *place < items.len() { items.slice(*place, 1) } else { nothing.clone() })
    };
    let parts =
        taken.values().iter().zip(places).map(of).collect::<std::result::Result<Vec<ArrayRef>, ArrowError>>()?;
    if parts.is_empty() {
        return Ok(nothing.slice(0, 0));
    }
    concat(&parts.iter().map(AsRef::as_ref).collect::<Vec<&dyn Array>>())
}
