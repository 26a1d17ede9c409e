//! SVG as pixels.

use std::sync::Arc;

use resvg::{
    tiny_skia::{Pixmap, Transform},
    usvg::{Options, Tree, fontdb::Database},
};

use super::ReportError;

/// Pixels for each unit of the drawing: legible on dense screens too.
const SCALE: f32 = 2.0;

/// A PNG image of an SVG document. Its letters come with the program: a machine without fonts, as
/// servers are, draws them too.
///
/// # Errors
/// [`ReportError::Png`], where the document is none or the image would be too large.
pub(super) fn png(svg: &str) -> Result<Vec<u8>, ReportError> {
    let failed = |reason: String| ReportError::Png(reason);
    let mut fonts = Database::new();
    fonts.load_font_data(epaint_default_fonts::UBUNTU_LIGHT.to_vec());
    let family = fonts
        .faces()
        .find_map(|face| face.families.first().map(|(name, _)| name.clone()));
    let options = Options {
        font_family: family.unwrap_or_default(),
        fontdb: Arc::new(fonts),
        ..Options::default()
    };
    let tree = Tree::from_str(svg, &options).map_err(|error| failed(error.to_string()))?;
    let size = tree.size().to_int_size().scale_by(SCALE);
    let mut pixels = size
        .and_then(|size| Pixmap::new(size.width(), size.height()))
        .ok_or_else(|| failed("the picture is too large".to_owned()))?;
    let scale = Transform::from_scale(SCALE, SCALE);
    resvg::render(&tree, scale, &mut pixels.as_mut());
    pixels
        .encode_png()
        .map_err(|error| failed(error.to_string()))
}
