//! Text out of a column, in whatever physical form a writer has put it there.

use arrow::array::{Array, ArrayRef, AsArray, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type, Int64Type, TimeUnit};
use chrono::{Datelike, NaiveDate};

/// Bytes of a UUID.
const UUID_BYTES: i32 = 16;
/// Seconds of a day.
const SECONDS: i64 = 86_400;

/// Whole numbers up to here are exact in floats of type `ty`.
fn exact(ty: &DataType) -> f64 {
    match ty {
        DataType::Float16 => 2048.0,
        DataType::Float32 => 16_777_216.0,
        _ => 9_007_199_254_740_992.0,
    }
}

/// What a column is read for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// A key: of a person, a set, a split, an image.
    Key,
    /// What a subject agreed to, which may also be a truth value, a day or a time.
    Term,
}

/// Whether values of type `ty` can be read for `purpose`.
///
/// # Errors
/// Text that says what would help.
pub(super) fn check(ty: &DataType, purpose: Purpose) -> Result<(), String> {
    match ty {
        DataType::Null
        | DataType::Utf8
        | DataType::LargeUtf8
        | DataType::Utf8View
        | DataType::Binary
        | DataType::LargeBinary
        | DataType::BinaryView
        | DataType::FixedSizeBinary(_)
        | DataType::Float16
        | DataType::Float32
        | DataType::Float64 => Ok(()),
        ty if ty.is_integer() || decimal_scale(ty) == Some(0) => Ok(()),
        DataType::Dictionary(_, value) => check(value, purpose),
        DataType::RunEndEncoded(_, value) => check(value.data_type(), purpose),
        ty if decimal_scale(ty).is_some() => {
            Err(format!("it is {ty}, with digits after the point; cast it to a whole number or to text"))
        }
        DataType::Boolean | DataType::Date32 | DataType::Date64 | DataType::Timestamp(..)
            if purpose == Purpose::Term =>
        {
            Ok(())
        }
        DataType::Boolean => {
            Err("it is Boolean, which names nothing; cast it to text, or write the names themselves".into())
        }
        ty if ty.is_temporal() => Err(format!("it is {ty}; cast it to text")),
        ty if ty.is_nested() => Err(format!("it is {ty}; write one text or whole number a row")),
        ty => Err(format!("it is {ty}; cast it to text")),
    }
}

fn decimal_scale(ty: &DataType) -> Option<i8> {
    match ty {
        DataType::Decimal32(_, scale)
        | DataType::Decimal64(_, scale)
        | DataType::Decimal128(_, scale)
        | DataType::Decimal256(_, scale) => Some(*scale),
        _ => None,
    }
}

/// The values of `array`, whose type [`check`] has found to serve, as text. Instants are days of UTC.
///
/// # Errors
/// Position and text of a value that is no text.
pub(super) fn texts(array: &ArrayRef) -> Result<Vec<Option<String>>, (usize, String)> {
    let plain = |to: &DataType| cast(array, to).map_err(|e| (0, e.to_string()));
    match array.data_type() {
        DataType::Null => Ok(vec![None; array.len()]),
        DataType::Dictionary(_, value) => texts(&plain(&value.clone())?),
        DataType::RunEndEncoded(_, value) => texts(&plain(&value.data_type().clone())?),
        DataType::FixedSizeBinary(UUID_BYTES) => {
            let ids = array.as_fixed_size_binary();
            Ok((0..ids.len()).map(|i| (!ids.is_null(i)).then(|| uuid(ids.value(i)))).collect())
        }
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => {
            let bytes = plain(&DataType::Binary)?;
            let text = |(i, bytes): (usize, Option<&[u8]>)| match bytes.map(std::str::from_utf8) {
                None => Ok(None),
                Some(Ok(text)) => Ok(Some(text.trim_end_matches('\0').to_owned())),
                Some(Err(_)) => {
                    Err((i, "holds bytes that are no text; write it as text (hexadecimal, say)".to_owned()))
                }
            };
            bytes.as_binary::<i32>().iter().enumerate().map(text).collect()
        }
        DataType::Float16 | DataType::Float32 | DataType::Float64 => {
            let (numbers, most) = (plain(&DataType::Float64)?, exact(array.data_type()));
            let text = |(i, number): (usize, Option<f64>)| match number.filter(|n| !n.is_nan()) {
                None => Ok(None),
                // Minus zero is zero.
                Some(n) if n.fract() == 0.0 && n.abs() <= most => Ok(Some(format!("{:.0}", n + 0.0))),
                Some(n) => {
                    Err((i, format!("holds {n}, which is no whole number, or too large for its type; cast it to text")))
                }
            };
            numbers.as_primitive::<Float64Type>().iter().enumerate().map(text).collect()
        }
        DataType::Timestamp(..) | DataType::Date32 | DataType::Date64 => {
            let a_day: i64 = match array.data_type() {
                DataType::Date32 => 1,
                DataType::Timestamp(TimeUnit::Second, _) => SECONDS,
                DataType::Timestamp(TimeUnit::Microsecond, _) => SECONDS * 1_000_000,
                DataType::Timestamp(TimeUnit::Nanosecond, _) => SECONDS * 1_000_000_000,
                _ => SECONDS * 1000,
            };
            let narrow = if array.data_type() == &DataType::Date32 { plain(&DataType::Int32)? } else { array.clone() };
            let numbers = cast(&narrow, &DataType::Int64).map_err(|e| (0, e.to_string()))?;
            Ok(numbers.as_primitive::<Int64Type>().iter().map(|n| n.map(|n| day(n.div_euclid(a_day)))).collect())
        }
        _ => {
            let text = plain(&DataType::Utf8)?;
            let text: &StringArray = text.as_string();
            Ok(text.iter().map(|v| v.map(str::to_owned)).collect())
        }
    }
}

/// A day by its number since 1970, as text; beyond our calendar the last day of it, or the first.
fn day(number: i64) -> String {
    let day =
        i32::try_from(number).ok().and_then(NaiveDate::from_epoch_days).filter(|day| (1..=9999).contains(&day.year()));
    match day {
        Some(day) => day.to_string(),
        None if number > 0 => "9999-12-31".into(),
        None => "0001-01-01".into(),
    }
}

/// A UUID in its usual notation.
fn uuid(bytes: &[u8]) -> String {
    let number = bytes.iter().fold(0u128, |number, byte| number << 8 | u128::from(*byte));
    let hex = format!("{number:032x}");
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{
        BinaryArray, BooleanArray, Decimal128Array, DictionaryArray, FixedSizeBinaryArray, Float64Array, Int64Array,
        NullArray, StringViewArray, TimestampMicrosecondArray, TimestampNanosecondArray,
    };
    use arrow::datatypes::Int8Type;
    use std::sync::Arc;

    fn read(array: impl Array + 'static, purpose: Purpose) -> Result<Vec<String>, String> {
        let array: ArrayRef = Arc::new(array);
        check(array.data_type(), purpose)?;
        let values = texts(&array).map_err(|(i, m)| format!("{i}: {m}"))?;
        Ok(values.into_iter().map(|v| v.unwrap_or_else(|| "-".into())).collect())
    }

    #[test]
    fn a_key_is_the_same_in_every_form() {
        let key = |array: ArrayRef| read(array, Purpose::Key).unwrap();
        let seven = ["7", "-"];
        assert_eq!(key(Arc::new(Int64Array::from(vec![Some(7), None]))), seven);
        assert_eq!(key(Arc::new(Float64Array::from(vec![Some(7.0), None]))), seven);
        assert_eq!(key(Arc::new(Float64Array::from(vec![7.0, f64::NAN]))), seven);
        assert_eq!(key(Arc::new(StringViewArray::from(vec![Some("7"), None]))), seven);
        assert_eq!(key(Arc::new(BinaryArray::from(vec![Some(&b"7"[..]), None]))), seven);
        let decimal = Decimal128Array::from(vec![Some(7), None]).with_precision_and_scale(38, 0).unwrap();
        assert_eq!(key(Arc::new(decimal)), seven);
        let dictionary: DictionaryArray<Int8Type> = [Some("7"), None].into_iter().collect();
        assert_eq!(key(Arc::new(dictionary)), seven);
        assert_eq!(key(Arc::new(NullArray::new(2))), ["-", "-"]);
        let id = FixedSizeBinaryArray::try_from_iter([[0x10u8; 16]].iter()).unwrap();
        assert_eq!(key(Arc::new(id)), ["10101010-1010-1010-1010-101010101010"]);
    }

    #[test]
    fn what_is_no_key_says_what_would_help() {
        let refused = |array: ArrayRef| read(array, Purpose::Key).unwrap_err();
        assert!(refused(Arc::new(BooleanArray::from(vec![true]))).contains("Boolean"));
        let decimal = Decimal128Array::from(vec![Some(7)]).with_precision_and_scale(38, 2).unwrap();
        assert!(refused(Arc::new(decimal)).contains("digits after the point"));
        assert_eq!(
            refused(Arc::new(Float64Array::from(vec![1.0, 1.5]))),
            "1: holds 1.5, which is no whole number, or too large for its type; cast it to text"
        );
        assert!(refused(Arc::new(BinaryArray::from(vec![&[0xff, 0xfe][..]]))).contains("no text"));
        assert!(refused(Arc::new(TimestampNanosecondArray::from(vec![1]))).contains("cast it to text"));
    }

    #[test]
    fn days_are_those_of_any_unit_and_zone() {
        let term = |array: ArrayRef| read(array, Purpose::Term).unwrap();
        // 2026-11-24, half an hour before midnight.
        let seconds = 1_795_563_000i64;
        assert_eq!(term(Arc::new(TimestampMicrosecondArray::from(vec![seconds * 1_000_000]))), ["2026-11-24"]);
        let zoned = TimestampNanosecondArray::from(vec![seconds * 1_000_000_000]).with_timezone("+02:00");
        assert_eq!(term(Arc::new(zoned)), ["2026-11-24"]);
        let named = TimestampMicrosecondArray::from(vec![seconds * 1_000_000]).with_timezone("Europe/Berlin");
        assert_eq!(term(Arc::new(named)), ["2026-11-24"]);
        let endless = arrow::array::Date32Array::from(vec![Some(i32::MAX), None, Some(0)]);
        assert_eq!(term(Arc::new(endless)), ["9999-12-31", "-", "1970-01-01"]);
        let far = arrow::array::TimestampSecondArray::from(vec![i64::MAX]);
        assert_eq!(term(Arc::new(far)), ["9999-12-31"]);
        assert_eq!(term(Arc::new(BooleanArray::from(vec![Some(true), None]))), ["true", "-"]);
    }
}
