//! Where faces are in pictures: five points or a box, in whatever form a writer has put them.

use super::pictures::items;
use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Fields, Float64Type, Schema};
use serde_json::Value;

/// Column of five points.
pub(crate) const LANDMARKS: &str = "landmarks";
/// Columns that hold five points: ours, insightface's and MTCNN's.
const POINTS: [&str; 3] = [LANDMARKS, "kps", "keypoints"];
/// Column of a box by its left upper corner and its size.
pub(crate) const BOX: &str = "bbox";
/// Column of a box by two corners.
const CORNERS: &str = "bbox_xyxy";

/// Letters of a text that an error shows.
const SHOWN: usize = 80;
/// Numbers of five points.
pub const NUMBERS: usize = 10;

/// A face in an upright picture, in its pixels, the middle of whose first one is (0, 0).
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Face {
    /// Eyes, nose and corners of the mouth, in whatever order the file has their coordinates.
    Landmarks([f64; NUMBERS]),
    /// Left, top, width and height of a box about the face, from the forehead to the chin.
    Box([f64; 4]),
}

/// Where a file says where faces are: positions of root columns.
#[derive(Clone, Debug, Default)]
pub(crate) struct Faces {
    /// One column of all points, or ten of their coordinates.
    points: Vec<usize>,
    bbox: Option<usize>,
    corners: Option<usize>,
}

impl Faces {
    /// The columns of `schema` that say where faces are, if there are such.
    pub fn of(schema: &Schema) -> Option<Self> {
        let at = |name: &str| schema.index_of(name).ok();
        let points =
            POINTS.iter().find_map(|name| at(name)).map_or_else(|| coordinates(schema.fields()), |at| vec![at]);
        let faces = Self { points, bbox: at(BOX), corners: at(CORNERS) };
        let any = faces.columns().next().is_some();
        any.then_some(faces)
    }

    /// Positions of the root columns.
    pub fn columns(&self) -> impl Iterator<Item = usize> {
        self.points.iter().copied().chain(self.bbox).chain(self.corners)
    }

    /// The face of each of the `pictures` of row `r`, or what is wrong with what the row says of it. With `list` there is one a picture.
    pub fn row(
        &self,
        column: &dyn Fn(usize) -> Option<ArrayRef>,
        r: usize,
        pictures: usize,
        list: bool,
    ) -> Vec<Result<Face, String>> {
        let rows = |at: &usize| -> Result<Vec<ArrayRef>, String> {
            let Some(array) = column(*at) else { return Ok(Vec::new()) };
            if array.is_null(r) || array.data_type() == &DataType::Null {
                return Ok(Vec::new());
            }
            if !list {
                return Ok(vec![array.slice(r, 1)]);
            }
            let items = items(&array, r).map_err(|e| e.to_string())?;
            Ok((0..items.len()).map(|i| items.slice(i, 1)).collect())
        };
        let found: Result<Vec<Vec<ArrayRef>>, String> =
            self.points.iter().chain(&self.bbox).chain(&self.corners).map(rows).collect();
        let found = match found {
            Ok(found) => found,
            Err(e) => return vec![Err(e); pictures],
        };
        let (points, boxes) = found.split_at(self.points.len());
        let corners = self.bbox.iter().map(|_| false).chain(self.corners.iter().map(|_| true));
        let boxes: Vec<(&Vec<ArrayRef>, bool)> = boxes.iter().zip(corners).collect();
        let one = |p: usize| {
            let parts = points.iter().filter_map(|items| items.get(p)).map(numbers);
            let values = parts.collect::<Result<Vec<_>, _>>()?.concat();
            if !values.is_empty() {
                return landmarks(&values);
            }
            for (items, corners) in &boxes {
                let Some(item) = items.get(p) else { continue };
                let values = numbers(item)?;
                if !values.is_empty() {
                    return boxed(&values, *corners || names_corners(item));
                }
            }
            Err("nothing says where its face is".into())
        };
        (0..pictures).map(one).collect()
    }
}

fn landmarks(values: &[f64]) -> Result<Face, String> {
    let count = values.len();
    let values = values.try_into().map_err(|_| {
        format!("its landmarks are {count} numbers, expected {NUMBERS}: two of each eye, of the nose, and of each corner of the mouth")
    })?;
    Ok(Face::Landmarks(values))
}

fn boxed(values: &[f64], corners: bool) -> Result<Face, String> {
    let &[x, y, w, h] = values else {
        return Err(format!("the box of its face has {} numbers, expected 4", values.len()));
    };
    let (w, h) = if corners { (w - x, h - y) } else { (w, h) };
    if w > 0.0 && h > 0.0 {
        Ok(Face::Box([x, y, w, h]))
    } else {
        Err(format!("the box of its face is {w} px wide and {h} px high"))
    }
}

/// True where the names of fields, in a struct or a text in JSON, say that a box is given by two corners.
fn names_corners(item: &ArrayRef) -> bool {
    let corner = |name: &str| ["x2", "xmax", "x_max", "right"].contains(&name.to_lowercase().as_str());
    match item.data_type() {
        DataType::Struct(fields) => fields.iter().any(|f| corner(f.name())),
        DataType::Utf8 => match serde_json::from_str(item.as_string::<i32>().value(0)) {
            Ok(Value::Object(fields)) => fields.keys().any(|name| corner(name)),
            _ => false,
        },
        _ => false,
    }
}

/// All numbers of `parts`, of which all are there, or none.
fn whole(parts: &[Vec<f64>]) -> Result<Vec<f64>, String> {
    let lacks = parts.iter().filter(|part| part.is_empty()).count();
    if lacks > 0 && lacks < parts.len() { Err("some of its numbers are null".into()) } else { Ok(parts.concat()) }
}

/// The numbers of the one value of `array`; none of a null.
fn numbers(array: &ArrayRef) -> Result<Vec<f64>, String> {
    if array.is_empty() || array.is_null(0) || array.data_type() == &DataType::Null {
        return Ok(Vec::new());
    }
    match array.data_type() {
        DataType::Struct(fields) => {
            let array = array.as_struct();
            let order = order(fields.iter().map(|f| f.name().as_str()))?;
            // Two lists of five are all x before all y, which is an order of its own.
            whole(&order.iter().map(|i| numbers(array.column(*i))).collect::<Result<Vec<_>, _>>()?)
        }
        ty if super::pictures::item(ty).is_some() => {
            let items = items(array, 0).map_err(|e| e.to_string())?;
            whole(&(0..items.len()).map(|i| numbers(&items.slice(i, 1))).collect::<Result<Vec<_>, _>>()?)
        }
        DataType::Dictionary(_, value) => numbers(&cast(array, value).map_err(|e| e.to_string())?),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => {
            let text = cast(array, &DataType::Utf8).map_err(|e| e.to_string())?;
            parsed(text.as_string::<i32>().value(0))
        }
        ty if ty.is_numeric() => {
            let number = cast(array, &DataType::Float64).map_err(|e| e.to_string())?;
            let value = number.as_primitive::<Float64Type>().value(0);
            // NaN is how pandas writes a null.
            Ok(if value.is_nan() { Vec::new() } else { vec![value] })
        }
        ty => Err(format!("it is {ty}; write numbers")),
    }
}

/// The numbers in a text, such as a list in JSON or NumPy's notation.
fn parsed(text: &str) -> Result<Vec<f64>, String> {
    if text.trim_start().starts_with('{') {
        return serde_json::from_str(text).map_err(|e| e.to_string()).and_then(|value| of_json(&value));
    }
    let shown = || text.chars().take(SHOWN).collect::<String>();
    let words = text.split(|c: char| c.is_whitespace() || ",;[](){}".contains(c)).filter(|w| !w.is_empty());
    words.map(|w| w.parse().map_err(|_| format!("it says `{}`; write numbers", shown()))).collect()
}

/// The numbers in objects, lists and numbers of JSON.
fn of_json(value: &Value) -> Result<Vec<f64>, String> {
    match value {
        Value::Null => Ok(Vec::new()),
        Value::Number(number) => Ok(number.as_f64().into_iter().collect()),
        Value::Array(items) => whole(&items.iter().map(of_json).collect::<Result<Vec<_>, _>>()?),
        Value::Object(fields) => {
            let values: Vec<&Value> = fields.values().collect();
            let order = order(fields.keys().map(String::as_str))?;
            whole(&order.into_iter().map(|i| of_json(values[i])).collect::<Result<Vec<_>, _>>()?)
        }
        other => Err(format!("it says {other}; write numbers")),
    }
}

/// A place among the numbers of five points or of a box.
fn place(name: &str) -> Option<usize> {
    let name: String = name.to_lowercase().chars().filter(char::is_ascii_alphanumeric).collect();
    let side = || match (name.contains("left"), name.contains("right")) {
        (true, false) => Some(0),
        (false, true) => Some(1),
        _ => None,
    };
    let point = if name.contains("eye") {
        side()?
    } else if name.contains("nose") {
        2
    } else if name.contains("mouth") || name.contains("lip") {
        3 + side()?
    } else {
        return match name.as_str() {
            "x" | "x1" | "x0" | "xmin" | "left" => Some(0),
            "y" | "y1" | "y0" | "ymin" | "top" => Some(1),
            "width" | "w" | "x2" | "xmax" | "right" => Some(2),
            "height" | "h" | "y2" | "ymax" | "bottom" => Some(3),
            _ => None,
        };
    };
    Some(2 * point + usize::from(name.ends_with('y')))
}

/// The order in which fields of these names are numbers of five points or of a box.
fn order<'a>(names: impl Iterator<Item = &'a str> + Clone) -> Result<Vec<usize>, String> {
    let mut places: Vec<(usize, usize)> = Vec::new();
    for (i, name) in names.clone().enumerate() {
        places.extend(place(name).map(|at| (at, i)));
    }
    places.sort_unstable();
    let distinct = places.windows(2).all(|two| two[0].0 != two[1].0);
    if places.is_empty() || !distinct {
        return Err(format!(
            "it has the fields {}; name them left_eye, right_eye, nose, mouth_left and mouth_right, or x, y, width and height",
            names.collect::<Vec<_>>().join(", ")
        ));
    }
    Ok(places.into_iter().map(|(_, i)| i).collect())
}

/// The ten columns of the coordinates of five points, in their order, if all are there, as CelebA's lists have them: `lefteye_x`, ..
fn coordinates(fields: &Fields) -> Vec<usize> {
    let mut found = [None; NUMBERS];
    for (i, field) in fields.iter().enumerate() {
        let name = field.name().to_lowercase();
        let point = ["eye", "nose", "mouth", "lip"].iter().any(|p| name.contains(p));
        let axis = name.ends_with("_x") || name.ends_with("_y");
        if let (true, true, Some(at)) = (point, axis, place(&name)) {
            found[at] = found[at].or(Some(i));
        }
    }
    found.into_iter().collect::<Option<Vec<_>>>().unwrap_or_default()
}
